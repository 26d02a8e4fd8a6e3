"""PI, OLS and their controls from a few pairs that can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from covidmt.evaluation.answers import VARIANTS, Answers
from covidmt.evaluation.pair_table import pair_table
from covidmt.evaluation.result import score_differences
from covidmt.evaluation.scores import binary_scores, mean_score, pair_scores, score_curves
from datamodules.evaluation import EvaluationDataModule
from experiments.schema import DecisionRule, Robustness, Target
from explain.decision import Decision
from metrics.bootstrap import PatientBootstrap
from metrics.controls import pack
from metrics.paired import SIDES, flips
from tests.helpers.evaluation import evaluation_of
from tests.helpers.evaluation import make_answers as make_made_up

SIZE = 8


def make_answers(original, received, *, labels, maps=None, lungs=None, other=None, **variants) -> Answers:
    """One-label answers; every map a hot left half and the lungs the left half, unless said otherwise."""
    n = len(original)
    half = torch.zeros(n, SIZE, SIZE, dtype=torch.bool)
    half[:, :, :4] = True
    hot = np.tile(np.array([[1, 0], [1, 0]], np.float32), (n, 1, 1))
    column = {name: np.array(values, np.float32)[:, None] for name, values in variants.items()}
    logits = {"original": np.array(original, np.float32)[:, None], "received": np.array(received, np.float32)[:, None]}
    return Answers(
        decision=Decision("COVID-19", 0),
        ids=[f"{i}.png" for i in range(n)],
        patients=np.array([str(i) for i in range(n)]),
        labels=np.array(labels, np.float32),
        logits=logits | dict.fromkeys(VARIANTS, logits["original"]) | column,
        maps=dict.fromkeys(Target, dict.fromkeys(SIDES, hot if maps is None else maps)),
        target=Target.decision,
        lungs=pack(half if lungs is None else lungs),
        heart="in",
        other_lungs=pack(torch.zeros_like(half) if other is None else other),
        size=SIZE,
        channel_rows=np.array([0, 2]),
        channel_logits={"jpeg:5": np.array([[-1.0], [-1.0]], np.float32)},
        tasks={},
    )


def values(answers: Answers) -> dict[str, float]:
    table = pair_table(answers, Robustness())
    scores = pair_scores(table, answers, Robustness(), PatientBootstrap(answers.patients, 100))
    return {key: score.estimate.value for key, score in scores.items()} | {
        f"{key}/n": score.n for key, score in scores.items()
    }


def test_pi_by_hand():
    # flips: pair 0 loses, pair 3 gains; pair 4 has no prediction after the channel and is left out of N
    found = values(make_answers([1, 1, -1, -1, 2], [-1, 1, -1, 1, np.nan], labels=[1, 1, 0, 0, np.nan]))
    assert found["pi/score"] == 50
    assert found["pi/score/n"] == 4
    assert found["pi/positive_to_negative"] == found["pi/negative_to_positive"] == 25
    assert found["pi/labelled_positive"] == found["pi/labelled_negative"] == 50
    assert found["pi/argmax"] == 0  # one label
    sigmoid = 1 / (1 + np.exp(-1))
    assert found["pi/probability_change"] == pytest.approx((2 * (2 * sigmoid - 1)) / 4)
    assert found["pi/logit_change"] == pytest.approx(1 / np.std([1, 1, -1, -1, 2]))  # mean of 2, 0, 0, 2
    assert found["channel/jpeg:5"] == 50  # of the two that went through it, pair 0 changes
    assert found["channel/jpeg:5/n"] == 2


def test_pi_controls_by_hand():
    changed = {"noise": [-1, -1, -1], "inside": [1, np.nan, -1], "outside": [1, 1, 1]}
    found = values(make_answers([1, 1, -1], [1, 1, -1], labels=[1, 1, 0], **changed))
    assert found["pi/noise"] == pytest.approx(200 / 3)
    assert found["pi/inside"] == 0
    assert found["pi/inside/n"] == 2  # the second has no lungs
    assert found["pi/outside"] == pytest.approx(100 / 3)


def test_ols_and_its_controls_by_hand():
    maps = np.zeros((4, 2, 2), np.float32)
    maps[0, :, 0] = maps[1, :, 0] = 1  # left
    maps[2, :, 1] = 1  # right
    # lungs: left for all but the last, which has none; image 3 has no map and no lung
    lungs = torch.zeros(4, SIZE, SIZE, dtype=torch.bool)
    lungs[:3, :, :4] = True
    found = values(make_answers([1, 1, 1, 1], [1, 1, 1, 1], labels=[1, 0, 0, 1], maps=maps, lungs=lungs))
    assert found["ols/original/score"] == pytest.approx(100 / 3)
    assert found["ols/original/score/n"] == 3
    # others' maps: image 0 gets one left, one right; image 1 too; image 2 gets two left
    assert found["ols/original/shuffled"] == pytest.approx(100 * (0.5 + 0.5 + 0) / 3)
    assert found["ols/original/score_minus_shuffled"] == pytest.approx(100 / 3 - 100 / 3)
    assert found["ols/original/centre_disc"] == 0  # half of it lies on the left
    assert found["ols/original/whole_image"] == 0
    assert found["ols/original/lung_area"] == 0.5
    assert found["ols/original/no_region"] == found["ols/original/no_lung"] == 25
    assert found["ols/original/labelled_positive"] == 0
    assert found["ols/original/labelled_positive/n"] == 1
    assert found["ols/original/labelled_negative"] == 50


def test_ols_under_both_conventions_by_hand():
    """A region and lungs in the left half; up to the heart a quarter of the lungs: IOL 1 and 0.25 < 0.4."""
    other = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    other[0, :, :1] = True  # of the others the heart is unknown
    found = values(make_answers([1, 1, 1], [1, 1, 1], labels=[1, 0, 0], other=other))
    assert found["ols/original/heart_in"] == found["ols/original/score"] == 0
    assert found["ols/original/heart_out"] == 100
    assert found["ols/original/heart_out/n"] == 1


def test_nothing_to_score_is_nan():
    lungs = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    found = values(make_answers([1, -1, 1], [1, -1, 1], labels=[np.nan] * 3, lungs=lungs))
    assert np.isnan(found["ols/original/score"])
    assert found["ols/original/score/n"] == 0
    assert found["pi/score"] == 0
    assert "decision/original/accuracy" not in found


def test_curves_hold_the_score_at_the_setting():
    answers = make_answers([1, 1, -1], [-1, 1, -1], labels=[1, 1, 0])
    table = pair_table(answers, Robustness())
    bootstrap = PatientBootstrap(answers.patients, 100)
    scores, curves = pair_scores(table, answers, Robustness(), bootstrap), score_curves(table, Robustness(), bootstrap)
    over_eta, over_threshold = (curves[f"ols_over_{name}"].lines["original"] for name in ("eta", "region_threshold"))
    at_half = curves["pi_over_decision_threshold"].lines["received"][9]  # 0.50
    assert curves["pi_over_decision_threshold"].x[9] == 0.5
    assert at_half.value == scores["pi/score"].estimate.value
    assert over_eta[7].value == scores["ols/original/score"].estimate.value  # 0.40
    assert over_threshold[4].value == over_eta[7].value


def test_two_runs():
    first = make_answers([1, 1, -1, -1], [-1, 1, -1, -1], labels=[1, 1, 0, 0])
    second = make_answers([1, -1, -1, -1], [1, -1, -1, -1], labels=[1, 1, 0, 0])
    bootstrap = PatientBootstrap(first.patients, 200)
    tables = [pair_table(answers, Robustness()) for answers in (first, second)]
    scores = [
        pair_scores(table, answers, Robustness(), bootstrap)
        for table, answers in zip(tables, (first, second), strict=True)
    ]
    found = score_differences(*scores)
    assert found["pi/score"].value == 25
    assert found["decision/original/accuracy"].value == pytest.approx(0.25)
    differ = flips(*(table["positive_original"].to_numpy() for table in tables))
    assert mean_score(differ, bootstrap).estimate.value == 25


def test_a_random_channels_draws_are_one_score_with_its_spread():
    """Four positive originals; the first draw changes one decision, the second three: PI 25 and 75 %, mean 50."""
    answers = make_answers([2, 2, 2, 2], [2, 2, 2, 2], labels=[1, 1, 1, 1])
    draws = {"c": [-1, 2, 2, 2], "c #2": [-1, -1, -1, 2], "plain": [-1, 2, 2, 2]}
    columns = {name: np.array(values, np.float32)[:, None] for name, values in draws.items()}
    answers = replace(answers, channel_rows=np.arange(4), channel_logits=columns)
    scores = pair_scores(pair_table(answers, Robustness()), answers, Robustness(), PatientBootstrap(list("abcd"), 200))
    assert scores["channel/c"].estimate.value == 50
    assert scores["draws/c/sd"].estimate.value == pytest.approx(np.std([25, 75], ddof=1))
    assert scores["draws/c/any"].estimate.value == 75
    assert scores["channel/plain"].estimate.value == 25
    assert "draws/plain/sd" not in scores


def test_ols_under_each_target():
    """The positive answer's maps lie right of the lungs, and in half of the images the predicted class's."""
    answers = make_answers([1, -1], [1, -1], labels=[1, 0])
    inside = answers.maps[Target.decision]["original"]
    outside = inside[:, :, ::-1].copy()
    maps = {
        Target.decision: inside,
        Target.positive: outside,
        Target.predicted: np.stack([inside[0], outside[1]]),
    }
    maps = {target: dict.fromkeys(SIDES, raw) for target, raw in maps.items()}
    found = values(replace(answers, maps=maps, channel_rows=np.array([0]), channel_logits={}))
    for side in SIDES:
        scores = {target.value: found[f"ols/{side}/target_{target.value}"] for target in Target}
        assert scores == {"decision": 0, "positive": 100, "predicted": 50}
        assert found[f"ols/{side}/score"] == 0  # that of the settings' target


def test_pi_by_argmax():
    """Probabilities cross 0.5 in pair 0 alone; the most probable class changes in pair 1 alone."""
    answers = make_answers([0] * 2, [0] * 2, labels=[1, 0])
    original = np.array([[-3, 1], [0.5, 0.2]], np.float32)
    received = np.array([[-3, -1], [0.1, 0.2]], np.float32)
    logits = {"original": original, "received": received} | dict.fromkeys(VARIANTS, original)
    answers = replace(answers, logits=logits, channel_rows=np.array([0]), channel_logits={})
    by_threshold = replace(answers, decision=Decision("COVID-19", 1))
    by_argmax = replace(answers, decision=Decision("COVID-19", 1, rule=DecisionRule.argmax))
    assert pair_table(by_threshold, Robustness())["flip"].tolist() == [1, 0]
    assert pair_table(by_argmax, Robustness())["flip"].tolist() == [0, 1]
    assert values(by_argmax)["pi/score"] == values(by_argmax)["pi/negative_to_positive"] == 50
    assert values(by_argmax)["decision/original/accuracy"] == 1


def test_every_interval_is_in_the_scale_and_has_a_width():
    """Nothing changes, everything is right: no score is certain, and three positives are too few for an AUROC."""
    answers = make_answers([2] * 3 + [-2] * 21, [2] * 3 + [-2] * 21, labels=[1] * 3 + [0] * 21)
    table = pair_table(answers, Robustness())
    scores = pair_scores(table, answers, Robustness(), PatientBootstrap(answers.patients, 100))
    for key in ("pi/score", "ols/original/score", "decision/original/accuracy", "decision/original/f1"):
        value, low, high = scores[key].estimate
        assert value in (0, 1)
        assert 0 <= low < high <= (100 if scores[key].whole == 100 else 1)
    auroc = scores["decision/original/auroc"]
    assert auroc.estimate.value == 1
    assert np.isnan(auroc.estimate.low)
    assert auroc.missing == "no interval: 3 positive patients, at least 10 are needed"
    assert "decision/original/ece" not in scores
    assert 0 < scores["decision/original/brier"].estimate.value < 0.02


def test_what_few_patients_say_of_a_difference():
    """Five positives among 40: AP and the slope need ten of either class; F1 counts who has the label or the call."""
    rng, truth = np.random.default_rng(0), np.arange(40) < 5
    bootstrap, known = PatientBootstrap(np.arange(40).astype(str), 200), np.ones(40, bool)
    first, second = (
        binary_scores(truth, p >= 0.5, p, p, known, bootstrap)
        for p in (np.clip(0.6 * truth + 0.5 * rng.random(40), 0, 1), rng.random(40))
    )
    words = "5 positive patients, at least 10 are needed"
    for name in ("auroc", "ap"):
        assert first[name].missing == f"no interval: {words}"
        assert np.isnan(first[name].estimate.low)
        difference = first[name].minus(second[name])
        assert (difference.verdict, difference.reason) == ("unknown", words)
        assert np.isnan([difference.low, difference.p]).all()
    assert first["calibration_slope"].missing == f"not computed: {words}"

    f1 = first["f1"].minus(second["f1"])
    counted = [int((truth | score.counted).sum()) for score in (first["f1"], second["f1"])]
    assert f1.patients == min(counted) < 20
    assert f1.reason == f"{f1.patients} patients, at least 20 are needed"
    sensitivity = first["sensitivity"].minus(second["sensitivity"])
    for difference in (f1, sensitivity):
        assert np.isfinite(difference.low)
        assert np.isnan(difference.p)  # none below 20 patients
    assert np.isfinite(first["accuracy"].minus(second["accuracy"]).p)


def test_other_patients_maps_are_a_sample_too(data: EvaluationDataModule):
    """The interval of other patients' maps, and of the difference to them, has the variance of lungs and maps."""
    maps, n = np.zeros((24, 4, 4), np.float32), 24
    maps[:, 1:3, 0] = 1
    maps[:6, 1:3, :] = maps[:6, 1:3, ::-1]  # six maps lie right of all lungs
    own = make_made_up(data, 0)
    scores = evaluation_of(data, replace(own, maps=dict.fromkeys(own.maps, dict.fromkeys(SIDES, maps)))).first.scores
    value, low, high = scores["ols/original/shuffled"].estimate
    assert value == pytest.approx(100 * 6 / n)
    assert low < 12
    assert high > 43  # as Wilson's of 6 in 24: 12.0 to 44.9
    value, low, high = scores["ols/original/score_minus_shuffled"].estimate
    assert value == pytest.approx(0, abs=1e-9)


def test_images_whose_probabilities_round_to_one_are_ranked_by_their_log_odds():
    """All probabilities are 1, in double precision too; every positive lies above every negative."""
    answers = make_answers([90] * 12 + [50] * 12, [50] * 12 + [90] * 12, labels=[1] * 12 + [0] * 12)
    table = pair_table(answers, Robustness())
    assert (table["p_original"] == 1).all()
    scores = pair_scores(table, answers, Robustness(), PatientBootstrap(answers.patients, 100))
    assert scores["decision/original/auroc"].estimate.value == 1
    assert scores["decision/original/ap"].estimate.value == 1
    assert scores["decision/received/auroc"].estimate.value == 0


def test_what_masks_alone_decide_is_no_difference_of_networks():
    answers = make_answers([2] * 12 + [-2] * 12, [2] * 24, labels=[1] * 12 + [0] * 12)
    table = pair_table(answers, Robustness())
    scores = pair_scores(table, answers, Robustness(), PatientBootstrap(answers.patients, 100))
    differences = score_differences(scores, scores)
    assert "ols/original/score" in differences
    of_masks = ("ols/original/whole_image", "ols/original/lung_area", "ols/original/no_lung")
    assert set(of_masks) <= set(scores)
    assert not set(of_masks) & set(differences)


def test_a_differences_interval_ends_where_a_difference_does():
    """One finds all four of twelve, the other one of them: F1 is 1 and 0.4, and no two F1s are more than 1 apart."""
    truth = np.arange(12) < 4
    bootstrap = PatientBootstrap(np.arange(12), 500)
    scores = [
        binary_scores(truth, positive, positive * 0.9, positive * 2.2, truth | True, bootstrap)["f1"]
        for positive in (truth, np.arange(12) < 1)
    ]
    for difference in (scores[0].minus(scores[1]), scores[1].minus(scores[0])):
        assert difference is not None
        assert -1 <= difference.low <= difference.value <= difference.high <= 1
    assert max(abs(difference.low), abs(difference.high)) == 1
