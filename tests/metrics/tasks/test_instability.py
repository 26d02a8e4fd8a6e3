from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.schema import Robustness, Task, TaskKind
from explain.decision import Decision
from explain.task_decisions import TaskDecisions
from metrics.instability import PredictionInstability
from metrics.tasks.instability import TaskInstability
from tests.helpers.metrics import assert_processes_add_up

LABELS = ["Effusion", "Nodule", "Mass"]
NAN = float("nan")


def decisions(kind=TaskKind.multilabel):
    return TaskDecisions.of(Task("findings", "nih", kind=kind, labels=LABELS), Robustness())


def scored(original, received, kind=TaskKind.multilabel, batches=(slice(None),)):
    metric = TaskInstability(decisions(kind))
    for rows in batches:
        metric.update(torch.as_tensor(original)[rows], torch.as_tensor(received)[rows])
    return metric.compute()


def test_any_label_makes_a_pair_unstable_by_hand():
    original = [[1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0], [0.0, -1.0, -1.0]]
    received = [[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0], [-2.0, -1.0, -3.0], [-1e-3, -1.0, -1.0]]
    got = scored(original, received)
    assert got["score"] == 75.0  # two flips in the first pair are one unstable pair; 0.5 is positive
    assert [got[f"{label}/score"] for label in LABELS] == [50.0, 25.0, 25.0]
    assert (got["Effusion/flips_pos_to_neg"], got["Effusion/flips_neg_to_pos"]) == (2, 0)
    assert (got["Mass/flips_pos_to_neg"], got["Mass/flips_neg_to_pos"]) == (0, 1)
    p = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    assert got["Mass/mean_abs_change"] == pytest.approx((p(1) - p(-1) + p(-1) - p(-3)) / 4, abs=1e-6)
    changes = [got[f"{label}/mean_abs_change"] for label in LABELS]
    assert got["mean_abs_change"] == pytest.approx(np.mean(changes), abs=1e-6)  # of all labels
    assert [got[f"{label}/pairs"] for label in LABELS] == [4, 4, 4]
    assert (got["pairs"], got["undefined"]) == (4, 0)


def test_classes_that_exclude_each_other_flip_in_two_labels():
    got = scored([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], [[1.0, 2.0, 0.0], [1.5, 1.0, 0.0]], TaskKind.multiclass)
    assert (got["score"], got["Effusion/flips_pos_to_neg"], got["Nodule/flips_neg_to_pos"]) == (50.0, 1, 1)
    assert got["Mass/score"] == 0


def test_a_label_without_a_number_leaves_its_pair_out_and_no_other_label():
    got = scored([[1.0, NAN, 1.0], [1.0, 1.0, 1.0]], [[-1.0, 1.0, 1.0], [1.0, float("inf"), 1.0]])
    assert (got["pairs"], got["undefined"]) == (0, 2)
    assert isnan(got["score"])
    assert (got["Effusion/score"], got["Effusion/pairs"], got["Nodule/pairs"]) == (50.0, 2, 0)
    assert isnan(got["Nodule/score"])


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_pair_has_no_score():
    got = TaskInstability(decisions()).compute()
    scores = {
        "score",
        "mean_abs_change",
        *(f"{label}/{key}" for label in LABELS for key in ("score", "mean_abs_change")),
    }
    assert {key for key, value in got.items() if isnan(value)} == scores
    numbers = {f"{label}/{key}" for label in LABELS for key in ("flips_pos_to_neg", "flips_neg_to_pos", "pairs")}
    assert {key for key, value in got.items() if value == 0} == {"pairs", "undefined", *numbers}


def test_processes_add_up():
    original, received = torch.tensor([[1.0, -1, NAN], [1, 1, 1]]), torch.tensor([[-1.0, -1, 1], [1, -1, 2]])
    shares = [(original[rows], received[rows]) for rows in (slice(1), slice(1, 2))]
    assert_processes_add_up(lambda: TaskInstability(decisions()), *shares)


def test_one_label_is_the_pi_score():
    rng = torch.Generator().manual_seed(0)
    original, received = torch.randn(50, 1, generator=rng), torch.randn(50, 1, generator=rng)
    task = TaskInstability(TaskDecisions.of(Task("nodule", "nih", labels=["Nodule"]), Robustness()))
    single = PredictionInstability(Decision("Nodule", 0))
    for metric in (task, single):
        metric.update(original, received)
    got, expected = task.compute(), single.compute()
    for prefix in ("", "Nodule/"):
        assert got[f"{prefix}score"] == expected["score"]
        assert got[f"{prefix}mean_abs_change"] == expected["mean_abs_change"]
    assert got["Nodule/flips_pos_to_neg"] == expected["flips_pos_to_neg"]


logits = st.lists(st.floats(-4, 4, width=32) | st.just(NAN), min_size=3, max_size=3)
sides = st.lists(st.tuples(logits, logits), min_size=1, max_size=10)


@given(sides, st.integers(0, 10), st.sampled_from([TaskKind.multilabel, TaskKind.multiclass]))
@settings(max_examples=60, deadline=None)
def test_properties(values, cut, kind):
    original, received = (torch.tensor(side) for side in zip(*values, strict=True))
    got = scored(original, received, kind)
    split = [rows for rows in (slice(None, cut), slice(cut, None)) if len(original[rows])]
    assert str(scored(original, received, kind, split)) == str(got)  # to the last bit, NaN too
    assert str(scored(original, received, kind, split[::-1])) == str(got)

    swapped = scored(received, original, kind)
    for label in LABELS:
        assert swapped[f"{label}/flips_pos_to_neg"] == got[f"{label}/flips_neg_to_pos"]
    assert str(swapped["score"]) == str(got["score"])
    same = scored(original, original, kind)
    assert same["score"] == 0 or isnan(same["score"])

    # any label: at least the largest of complete pairs, at most their sum
    complete = torch.isfinite(original).all(1) & torch.isfinite(received).all(1)
    if complete.any():
        whole = scored(original[complete], received[complete], kind)
        by_label = [whole[f"{label}/score"] for label in LABELS]
        assert max(by_label) - 1e-9 <= whole["score"] <= min(sum(by_label), 100) + 1e-9
        assert whole["score"] == got["score"]
