from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from metrics.classification import ClassificationScores

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
