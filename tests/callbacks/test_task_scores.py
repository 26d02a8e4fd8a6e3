import math

import pytest
import torch

from callbacks.pair_maps import ExplainedSide
from callbacks.task_scores import TaskScores, gather
from experiments.batch import Pair, TaskPairs
from experiments.schema import Robustness, TaskKind
from explain.task_decisions import TaskDecisions
from tests.helpers.tiny_module import FINDINGS


def batch(tasks, n=4):
    images, lung = torch.zeros(n, 1, 8, 8, dtype=torch.uint8), torch.ones(n, 8, 8, dtype=torch.bool)
    pair = Pair(images, images, torch.zeros(n), lung, [f"{i}.png" for i in range(n)])
    return TaskPairs(tasks, False, pair, ["a", "a", "b", "c"][:n], [torch.tensor([[0.0, 0.0, 4.0, 4.0]])] * n)


def side(logits):
    heat = torch.ones(len(logits), 8, 8)
    return ExplainedSide(torch.tensor(logits), heat, heat)


def test_labels_and_boxes_under_their_names():
    decisions = {"findings": TaskDecisions.of(FINDINGS, Robustness())}
    scores = TaskScores(Robustness(), decisions, torch.device("cpu"))
    scores.expect({"findings": TaskKind.multilabel, "places": TaskKind.boxes})
    found = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]]), "scores": torch.tensor([0.9])}
    lost = {"boxes": torch.empty(0, 4), "scores": torch.empty(0)}
    answers = {
        "findings": (side([[1.0, -1.0]] * 4), side([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])),
        "places": ([found] * 4, [found, found, found, lost]),
    }
    pairs = batch(["findings", "places"])
    scores.update(pairs, answers, pairs.pair.lung)
    got = scores.compute()
    assert (got["pi/findings"], got["pi/findings/nodule"], got["pi/findings/mass"]) == (50.0, 25.0, 25.0)
    assert got["pi/findings/nodule/flips_pos_to_neg"] == got["pi/findings/mass/flips_neg_to_pos"] == 1
    assert (got["li/places/0.5"], got["li/places/0.5/lost"], got["li/places/0.5/localised"]) == (25.0, 25.0, 100.0)
    assert (got["ols/places/original/n"], got["ols/places/received/n"]) == (4, 3)
    assert got["ols/findings/received"] == 0
    for key in ("pi/findings", "pi/findings/mass", "li/places/0.75"):
        assert got[f"{key}/ci_low"] < got[key] < got[f"{key}/ci_high"]
    assert not any(math.isnan(value) for value in got.values())


def test_what_is_undefined_has_no_name():
    decisions = {"findings": TaskDecisions.of(FINDINGS, Robustness())}
    scores = TaskScores(Robustness(), decisions, torch.device("cpu"))
    scores.expect({"findings": TaskKind.multilabel})
    pairs, nothing = batch(["findings"]), side([[float("nan"), 1.0]] * 4)
    scores.update(pairs, {"findings": (nothing, nothing)}, pairs.pair.lung)
    got = scores.compute()
    assert got["pi/findings/undefined"] == 4
    assert "pi/findings" not in got
    assert "pi/findings/ci_low" not in got
    assert got["pi/findings/mass"] == 0


def test_one_process_gathers_its_own_rows():
    assert gather([1, 2]) == [1, 2]
    assert gather(()) == []


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_a_task_without_pairs_has_numbers_alone():
    scores = TaskScores(Robustness(), {}, torch.device("cpu"))
    scores.expect({"places": TaskKind.boxes})
    got = scores.compute()
    assert got["li/places/pairs"] == 0
    assert not any(key.endswith(("0.5", "iou")) for key in got)
