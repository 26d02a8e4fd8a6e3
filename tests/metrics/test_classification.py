from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from experiments.schema import ThresholdRule
from metrics.classification import ClassificationScores
from tests.helpers.metrics import assert_processes_add_up
from tests.helpers.processes import on_two_processes

NAN = float("nan")


def scores(labels, logits, targets, *, softmax=False, cut=None):
    metric = ClassificationScores(labels, softmax=softmax)
    for rows in (slice(None),) if cut is None else (slice(cut), slice(cut, None)):
        metric.update(logits[rows], targets[rows])
    return {key: float(value) for key, value in metric.compute().items()}


def test_by_hand():
    """Two positives at ranks 1 and 3 of four, an unknown between: AUROC 3/4, AP (1 + 2/3) / 2."""
    logits = torch.tensor([4.0, 3.5, 3.0, 2.0, 1.0])[:, None]
    targets = torch.tensor([1.0, NAN, 0, 1, 0])[:, None]
    assert scores(["a"], logits, targets) == pytest.approx({"auroc": 3 / 4, "ap": 5 / 6})


@pytest.mark.parametrize("softmax", [False, True])
def test_against_scikit_learn_for_any_cut(softmax):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3, generator=generator)
    classes = torch.randint(0, 3, (40,), generator=generator)
    targets = torch.eye(3)[classes]
    found = scores(["a", "b", "c"], logits, targets, softmax=softmax, cut=17)
    p = (logits.softmax(1) if softmax else logits.sigmoid()).numpy()
    each = [roc_auc_score(targets[:, i], p[:, i]) for i in range(3)]
    assert found["auroc"] == pytest.approx(np.mean(each))
    assert found["auroc/b"] == pytest.approx(each[1])
    assert found["ap/c"] == pytest.approx(average_precision_score(targets[:, 2], p[:, 2]))
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == classes).float().mean().item())


def test_decisions_by_hand():
    """Said a a b b b, are a b b b c: a 1 of 1 and 1 of 2; b 2 of 3 and 2 of 3; c is never said."""
    logits = torch.eye(3)[[0, 0, 1, 1, 1]]
    found = scores(["a", "b", "c"], logits, torch.eye(3)[[0, 1, 1, 1, 2]])
    expected = {"accuracy": 3 / 5, "sensitivity/a": 1, "ppv/a": 1 / 2, "f1/a": 2 / 3, "f1/b": 2 / 3, "ppv/b": 2 / 3}
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["sensitivity/c"] == found["f1/c"] == 0
    assert "ppv/c" not in found
    assert [found[f"confusion/{a}/{b}"] for a in "abc" for b in "abc"] == [1, 0, 0, 1, 2, 0, 0, 1, 0]


def test_large_logits_are_told_apart():
    logits = torch.tensor([20.0, 21.0, 22.0])[:, None]  # float32 probabilities: all 1
    assert scores(["a"], logits, torch.tensor([0.0, 1, 1])[:, None])["auroc"] == 1


def test_what_is_not_defined_is_left_out():
    logits = torch.randn(3, 2)
    assert scores(["a"], logits[:, :1], torch.ones(3, 1)) == {}
    assert scores(["a"], logits[:, :1], torch.full((3, 1), NAN)) == {}
    assert ClassificationScores(["a"], softmax=False).compute() == {}
    one = scores(["a", "b"], logits, torch.tensor([[1.0, 1], [0, 1], [1, 1]]))
    assert set(one) == {"auroc", "auroc/a", "ap", "ap/a"}  # no accuracy: the labels do not exclude each other
    assert one["auroc"] == one["auroc/a"]


def test_a_network_that_gives_no_numbers_has_no_scores():
    """Ranked, NaN would get the order of the files: here an AUROC of 1."""
    targets = torch.eye(2)[[0, 0, 1, 1]]
    assert scores(["a", "b"], torch.full((4, 2), NAN), targets) == {"undefined": 4}
    assert scores(["a"], torch.tensor([[NAN], [float("inf")], [1.0], [0.0]]), targets[:, :1]) == {"undefined": 2}


def test_images_without_a_number_are_counted_and_the_others_scored():
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [NAN, 0.0], [0.0, float("-inf")]])
    found = scores(["a", "b"], logits, torch.eye(2)[[0, 1, 1, 1]])
    assert found["undefined"] == 2
    assert (found["accuracy"], found["auroc"], found["confusion/b/b"]) == (1, 1, 1)


def test_logits_that_round_to_one_probability_are_ranked():
    """Sigmoids of 50 and 90 are both 1, in double precision too."""
    for softmax in (False, True):
        metric = ClassificationScores(["COVID-19", "normal"], softmax=softmax)
        metric.update(torch.tensor([[90.0, 0.0], [50.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        scores = metric.compute()
        assert scores["auroc/COVID-19"] == scores["ap/COVID-19"] == 1


def decided(labels, decision, logits, targets):
    metric = ClassificationScores(labels, softmax=False, decision=decision)
    metric.update(torch.tensor(logits), torch.tensor(targets))
    return {key: float(value) for key, value in metric.compute().items() if not key.startswith(("auroc", "ap"))}


def test_a_decision_by_hand():
    """Called a: 2 and 0, which has a probability of one half; of the known ones 2 and -1 have it."""
    found = decided(["a"], ("a", 0.5), [[2.0], [0.0], [-1.0], [-2.0], [3.0]], [[1.0], [0.0], [1.0], [0.0], [NAN]])
    scores = {"accuracy": 1 / 2, "sensitivity": 1 / 2, "ppv": 1 / 2, "f1": 1 / 2}
    confusion = {"a/a": 1, "a/not a": 1, "not a/a": 1, "not a/not a": 1}
    assert found == pytest.approx(scores | {f"confusion/{key}": count for key, count in confusion.items()})


def test_a_decision_of_labels_that_do_not_exclude_each_other_is_named_by_its_label():
    """b is called twice of three times, once rightly, and missed once; a has its own AUROC and no decision."""
    found = decided(["a", "b"], ("b", 0.5), [[1.0, 2.0], [1.0, 2.0], [1.0, -2.0]], [[1.0, 1], [1, 0], [0, 1]])
    scores = {"accuracy": 1 / 3, "sensitivity/b": 1 / 2, "ppv/b": 1 / 2, "f1/b": 1 / 2}
    confusion = {"b/b": 1, "b/not b": 1, "not b/b": 1, "not b/not b": 0}
    assert found == pytest.approx(scores | {f"confusion/{key}": count for key, count in confusion.items()})


def test_a_decision_has_its_own_threshold_and_no_ppv_where_nothing_is_called():
    found = decided(["a"], ("a", 0.9), [[2.0], [-1.0]], [[1.0], [0.0]])  # sigmoid(2) = 0.88
    assert "ppv" not in found
    assert (found["accuracy"], found["sensitivity"], found["f1"]) == (0.5, 0, 0)
    assert decided(["a"], ("a", 0.85), [[2.0], [-1.0]], [[1.0], [0.0]])["accuracy"] == 1


def test_a_decision_without_a_known_image_has_no_scores():
    assert decided(["a"], ("a", 0.5), [[1.0], [2.0]], [[NAN], [NAN]]) == {}


@pytest.mark.parametrize("softmax", [False, True])
def test_thresholds_lie_between_the_probabilities_that_they_part(softmax):
    """Label a has 0.8 and 0.6 with it, 0.4 without it; b the other way round, under softmax and sigmoids alike."""
    metric = ClassificationScores(["a", "b"], softmax=softmax)
    p = torch.tensor([0.8, 0.6, 0.4, 0.2])
    logit = (p / (1 - p)).log()
    logits = torch.stack([logit, torch.zeros(4)], dim=1) if softmax else torch.stack([logit, -logit], dim=1)
    metric.update(logits, torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    assert metric.choose_thresholds(ThresholdRule.youden) == pytest.approx({"a": 0.5, "b": 0.5})
    assert metric.choose_thresholds(ThresholdRule.sensitivity, 0.5) == pytest.approx({"a": 0.7, "b": 0.7})


def test_thresholds_find_nine_of_ten_unless_told():
    metric = ClassificationScores(["a"], softmax=False)
    p = torch.arange(1, 21) / 21
    metric.update((p / (1 - p)).log()[:, None], (torch.arange(20) >= 10).float()[:, None])
    assert metric.choose_thresholds(ThresholdRule.sensitivity) == pytest.approx({"a": 11.5 / 21})  # one of ten below it
    assert ClassificationScores(["a"], softmax=False).choose_thresholds(ThresholdRule.youden) == {}


def test_processes_add_up():
    logits, targets = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.eye(2)[[0, 1, 0, 1, 1]]
    shares = [(logits[rows], targets[rows]) for rows in (slice(2), slice(2, 5))]
    assert_processes_add_up(lambda: ClassificationScores(["a", "b"], softmax=True), *shares)


LOGITS = torch.tensor([[2.0, -1.0], [0.5, 1.0], [-1.0, 0.3], [1.5, 2.0], [-0.5, -2.0]])
TARGETS = torch.tensor([[1.0, 0], [0, 1], [0, 0], [1, 1], [1, 0]])


def _said(metric: ClassificationScores) -> str:
    thresholds = metric.choose_thresholds(ThresholdRule.youden)
    scores = {key: float(value) for key, value in metric.compute().items()}
    return repr((thresholds, scores, metric.choose_thresholds(ThresholdRule.sensitivity, 0.5)))


def _share(rank: int) -> tuple[str, int]:
    """What one of two processes says, with every second image; then how many batches it has itself."""
    metric = ClassificationScores(["a", "b"], softmax=False, decision=("a", 0.5))
    metric.update(LOGITS[rank::2], TARGETS[rank::2])
    return _said(metric), len(metric.logits)


def test_two_processes_have_the_scores_and_thresholds_of_all_images(tmp_path: Path):
    alone = ClassificationScores(["a", "b"], softmax=False, decision=("a", 0.5))
    alone.update(LOGITS, TARGETS)
    assert on_two_processes(_share, tmp_path) == ((_said(alone), 1),) * 2


def test_a_decision_stands_beside_the_scores_of_all_labels():
    metric = ClassificationScores(["a"], softmax=False, decision=("a", 0.5))
    metric.update(torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [0.0]]))
    assert {"auroc", "ap", "accuracy", "sensitivity", "ppv", "f1"} <= set(metric.compute())
