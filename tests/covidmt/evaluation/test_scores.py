"""PI, OLS and their controls from a few pairs that can be counted by hand."""

import numpy as np
import pytest
import torch

from covidmt.evaluation.answers import VARIANTS, Answers
from covidmt.evaluation.pair_table import pair_table
from covidmt.evaluation.scores import mean_score, pair_scores, score_curves, score_differences
from experiments.schema import Robustness
from explain.decision import Decision
from metrics.bootstrap import PatientBootstrap
from metrics.controls import pack
from metrics.paired import SIDES, flips

SIZE = 8


def make_answers(original, received, *, labels, maps=None, lungs=None, **variants) -> Answers:
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
        maps=dict.fromkeys(SIDES, hot if maps is None else maps),
        lungs=pack(half if lungs is None else lungs),
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
    differ = flips(*(table["p_original"].to_numpy() for table in tables), threshold=0.5)
    assert mean_score(differ, bootstrap).estimate.value == 25
