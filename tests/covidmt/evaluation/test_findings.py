"""What an evaluation's sentences claim, and when they claim nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from covidmt.evaluation.findings import RULES, _beside_guessing, _beside_shuffled, describe_findings
from covidmt.evaluation.scores import mean_score
from datamodules.evaluation import EvaluationDataModule
from metrics.bootstrap import PatientBootstrap
from metrics.controls import pack
from metrics.intervals import Estimate
from metrics.paired import SIDES
from tests.helpers.evaluation import SIZE, N, evaluation_of, make_answers


def test_constant_answers_are_no_merit(data: EvaluationDataModule):
    same = make_answers(data, 0)
    for logits in same.logits.values():
        logits[:] = [-1, 1]
    evaluation = evaluation_of(data, same)
    (stability, *_) = describe_findings(evaluation)
    assert any("calls every original positive" in sentence for sentence in stability.sentences)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.78, 0.95, "does better than guessing"),
        (0.77, 0.95, "better than guessing is not shown"),
        (0.42, 0.87, "better than guessing is not shown"),
        (0.42, 0.77, "better than guessing is not shown"),
        (0.42, 0.76, "does worse than guessing"),
    ],
)
def test_an_accuracy_is_set_beside_guessing(low, high, words):
    assert _beside_guessing(Estimate(0.69, low, high), 0.77).endswith(words)
    assert _beside_guessing(Estimate(0.69, np.nan, np.nan), 0.77) == ""


@pytest.mark.parametrize(("control", "differs"), [(50.0, True), (0.0, False)])
def test_no_map_out_of_the_lungs_differs_from_other_patients_where_these_are(control, differs):
    """0 of 24 in every resample: the difference has no interval, the score's own one decides."""
    score, difference = Estimate(0.0, 0.0, 13.8), Estimate(-control, np.nan, np.nan)
    assert "cannot be told" in _beside_shuffled(score, Estimate(30.0, 10.0, 60.0), difference, N)  # the two overlap
    words = _beside_shuffled(score, Estimate(control, control, control), difference, N)
    assert ("go with this image's lungs" in words) == differs
    assert ("cannot be told from its own" in words) != differs
    few = _beside_shuffled(score, Estimate(control, control, control), difference, N - 5)
    assert few == "whether that differs from its own is not judged (19 patients, 20 are needed)"
    assert "Where all images score alike" in RULES


def test_maps_that_follow_lungs_on_either_side(data: EvaluationDataModule):
    """Half of the patients have their lungs left, half right, each with its map inside: shuffled, half are outside."""
    own = make_answers(data, 0)
    masks, maps = np.zeros((N, SIZE, SIZE), bool), np.zeros((N, 4, 4), np.float32)
    left = np.arange(N) % 4 < 2
    masks[left, :, : SIZE // 2] = masks[~left, :, SIZE // 2 :] = True
    maps[left, 1:3, 0] = maps[~left, 1:3, 3] = 1
    own = replace(own, maps=dict.fromkeys(own.maps, dict.fromkeys(SIDES, maps)), lungs=pack(torch.from_numpy(masks)))
    evaluation = evaluation_of(data, own)
    scores = evaluation.first.scores
    assert scores["ols/original/score"].estimate.value == 0
    assert 50 < scores["ols/original/shuffled"].estimate.value < 55  # 12 of 23
    said = " ".join(describe_findings(evaluation)[1].sentences)
    assert (
        "more than with its own: the maps go with this image's lungs; that the network decides by them is not" in said
    )


def test_other_lungs_and_who_drew_them(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0))
    drawn = replace(evaluation, pairs=replace(evaluation.pairs, masks=24, masks_drawn=13))
    (card,) = [card for card in describe_findings(drawn) if card.title == "Does the heat map lie on the lungs?"]
    assert (
        "On originals, with lungs that stop at the heart it would be 0.0 % (of 24 images); with maps that explain the "
        "positive answer 0.0 % (of 24 images)." in card.sentences
    )
    assert "13 of 24 lung masks were drawn by a segmentation network." in card.sentences


@pytest.mark.parametrize(
    ("patients", "words"),
    [
        (40, "more than chance (0)"),
        (18, "whether that is more than chance (0) is not judged (18 patients, 20 are needed)"),
    ],
)
def test_an_attack_on_few_patients_is_not_shown(data: EvaluationDataModule, patients: int, words: str):
    member = np.arange(patients) % 2 == 0
    advantage = mean_score(np.where(member, 0.9, 0.8), PatientBootstrap(np.arange(patients).astype(str), 50), None)
    evaluation = evaluation_of(data, make_answers(data, 0))
    evaluation.first.scores["membership/advantage"] = advantage
    (card,) = [card for card in describe_findings(evaluation) if "trained on" in card.title]
    assert words in card.sentences[0]


def test_no_interval_leaves_its_scale(data: EvaluationDataModule):
    """Three of 24 logits move far: Student's interval of the mean change would begin below zero, where no change is."""
    scores = evaluation_of(data, make_answers(data, 3)).first.scores
    assert scores["pi/logit_change"].estimate.low == 0 < scores["pi/logit_change"].estimate.value
    for key, score in scores.items():
        low, high = score.estimate.low, score.estimate.high
        if score.whole is not None and not np.isnan(low):
            assert 0 <= low <= score.estimate.value <= high <= score.whole, key
            assert low < high, key


def test_what_the_heat_is_measured_by_stands_beside_it(data: EvaluationDataModule):
    """Lungs are the left half; the heat of a 4 x 4 map's first column is inside."""
    said = " ".join(describe_findings(evaluation_of(data, make_answers(data, 0)))[1].sentences)
    assert "of all heat is inside (a map hot everywhere would have 50 %)." in said
    assert "Heat map: coarse map of 4 x 4 cells: each is 6.2 % of the image." in said
