"""What an evaluation's sentences claim, and when they claim nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from covidmt.evaluation.findings import RULES, _beside_shuffled, class_sentences, describe_findings
from datamodules.evaluation import EvaluationDataModule
from metrics.bootstrap import Estimate
from metrics.controls import pack
from metrics.paired import SIDES
from tests.helpers.evaluation import SIZE, N, evaluation_of, make_answers


def test_constant_answers_are_no_merit(data: EvaluationDataModule):
    same = make_answers(data, 0)
    for logits in same.logits.values():
        logits[:] = [-1, 1]
    evaluation = evaluation_of(data, same)
    (stability, *_) = describe_findings(evaluation)
    assert any("calls every original positive" in sentence for sentence in stability.sentences)


@pytest.mark.parametrize(("control", "differs"), [(50.0, True), (0.0, False)])
def test_no_map_out_of_the_lungs_differs_from_other_patients_where_these_are(control, differs):
    """0 of 24 in every resample: the difference has no interval, the score's own one decides."""
    score, difference = Estimate(0.0, 0.0, 13.8), Estimate(-control, np.nan, np.nan)
    for patients, told in ((N, differs), (N - 5, False)):
        words = _beside_shuffled(score, Estimate(control, control, control), difference, patients)
        assert ("follow the individual image's lungs" in words) == told
        assert ("cannot be told from its own" in words) != told
    assert "alone where all images score alike" in RULES


def test_maps_that_follow_lungs_on_either_side(data: EvaluationDataModule):
    """Half of the patients have their lungs left, half right, each with its map inside: shuffled, half are outside."""
    own = make_answers(data, 0)
    masks, maps = np.zeros((N, SIZE, SIZE), bool), np.zeros((N, 4, 4), np.float32)
    left = np.arange(N) % 4 < 2
    masks[left, :, : SIZE // 2] = masks[~left, :, SIZE // 2 :] = True
    maps[left, 1:3, 0] = maps[~left, 1:3, 3] = 1
    own = replace(own, maps=dict.fromkeys(SIDES, maps), lungs=pack(torch.from_numpy(masks)))
    evaluation = evaluation_of(data, own)
    scores = evaluation.first.scores
    assert scores["ols/original/score"].estimate.value == 0
    assert 50 < scores["ols/original/shuffled"].estimate.value < 55  # 12 of 23
    said = " ".join(describe_findings(evaluation)[1].sentences)
    assert "more than with its own, so the maps follow the individual image's lungs" in said


def test_an_origin_of_one_class_gives_it_away():
    assert class_sentences({"normal": {"a": 6}, "COVID-19": {"a": 6}}) == []
    assert class_sentences({"normal": {"a": 6}, "COVID-19": {"a": 1, "b": 6}})
