"""An evaluation as a whole: what it says of the pairs, of the runs, and of runs beside each other."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from covidmt.evaluation.result import Definitions, PairSet, build_evaluation, task_notes
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.decode import DECODER
from tests.helpers.evaluation import N, evaluation_of, make_answers, network


def test_pairs_and_definitions(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 3))
    channel = data.experiment.data.pairs.channel
    numbers = "side 1600, quality 70"
    assert evaluation.pairs == PairSet(
        "own", "test", channel, n=N, patients=N, unknown=N, positive=N // 2, channel_numbers=numbers
    )
    assert evaluation.pairs.way == "whatsapp (simulated; side 1600, quality 70)"
    assert evaluation.settings == Definitions(
        "COVID-19",
        threshold=0.5,
        eta=0.4,
        region_threshold=0.5,
        decision="COVID-19 where its probability is at least 0.5",
        target="decision",
        explained="the decision made",
        masks="none",
        heart="in",
        decoder=DECODER,
    )
    assert {label: sum(counts.values()) for label, counts in evaluation.class_by_source.items()} == {
        "normal": N // 2,
        "COVID-19": N // 2,
    }


def test_it_never_changes(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 3))
    with pytest.raises(FrozenInstanceError):
        evaluation.notes = ()  # ty: ignore
    with pytest.raises(FrozenInstanceError):
        evaluation.first.scores = {}  # ty: ignore


def test_runs_beside_the_first(data: EvaluationDataModule):
    first, second = evaluation_of(data, make_answers(data, 8), make_answers(data, 2, 1)).runs
    assert (first.other_seed, second.other_seed) == (False, True)
    assert first.differences == {}
    assert second.differences["pi/score"].value == pytest.approx(100 * 6 / N)
    assert "disagreement" not in first.scores
    assert second.scores["disagreement"].estimate.value == 0
    assert first.estimate("nothing") is None
    assert np.nansum(first.flips()) == 8
    assert np.nansum(first.flips("noise")) == np.nansum(first.disagreements(second)) == 0


def test_a_task_on_other_images_is_not_compared(data: EvaluationDataModule):
    first, second = make_answers(data, 0), make_answers(data, 0, 1)
    others = replace(second.tasks["covidx"], patients=second.tasks["covidx"].patients[::-1])
    second = replace(second, tasks={"covidx": others, "own": second.tasks["covidx"]})
    networks = [network(data, "one"), network(data, "two", 1)]
    assert task_notes(networks, [first, second]) == ["task covidx: two is not compared, its images differ"]

    networks[1] = network(data, "two", 1, tasks=data.experiment.tasks | {"own": data.experiment.tasks["covidx"]})
    evaluation = build_evaluation(networks, [first, second], data, resamples=100)
    assert any(key.startswith("task/own/") for key in evaluation.runs[1].scores)
    assert not any(key.startswith("task/covidx/") for key in evaluation.runs[1].scores)
    assert not evaluation.runs[1].other_seed  # another experiment
