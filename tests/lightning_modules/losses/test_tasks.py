from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiments.models.schema import BoxHeadSettings
from lightning_modules.heads import BoxHead, BoxOutput
from lightning_modules.losses import tasks as losses
from tests.helpers.processes import on_two_processes

NAN = float("nan")


def close(tensor, value):
    torch.testing.assert_close(float(tensor), value, rtol=1e-5, atol=1e-6)


def test_multilabel_by_hand():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 5.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, NAN]])
    parts = [math.log(2), math.log1p(math.exp(2)), math.log1p(math.exp(-1))]
    term = losses.sigmoid_cross_entropy(logits, targets)
    close(term.total, sum(parts))
    close(term.count, 3.0)
    close(term.mean, sum(parts) / 3)
    weighted = losses.sigmoid_cross_entropy(logits, targets, torch.tensor([2.0, 0.5]))
    close(weighted.mean, (2 * parts[0] + 0.5 * parts[1] + 2 * parts[2]) / 3)


def test_multiclass_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0], [9.0, -9.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [NAN, NAN]])
    close(losses.softmax_cross_entropy(logits, targets).mean, (math.log(4) + math.log(2)) / 2)
    weighted = losses.softmax_cross_entropy(logits, targets, torch.tensor([3.0, 1.0]))
    close(weighted.mean, (3 * math.log(4) + math.log(2)) / (3 + 1))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.015625, 20, width=32), min_size=3, max_size=3),
    st.lists(st.sampled_from([0, 1, 2, -100]), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_class_weights_are_those_of_torchs_cross_entropy(weights, classes, seed):
    """-100 is torch's unknown class; ours is NaN."""
    logits = torch.randn(len(classes), 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    one_hot = torch.tensor([[NAN] * 3 if c < 0 else [float(c == i) for i in range(3)] for c in classes])
    term = losses.softmax_cross_entropy(logits, one_hot, torch.tensor(weights))
    if max(classes) < 0:
        assert term.mean == 0
        return
    expected = nn.CrossEntropyLoss(weight=torch.tensor(weights))(logits, torch.tensor(classes))
    torch.testing.assert_close(term.mean, expected, rtol=1e-5, atol=1e-6)
    ours, theirs = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (term.mean, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", [losses.sigmoid_cross_entropy, losses.softmax_cross_entropy])
def test_half_precision_is_read_in_float32(loss, dtype):
    """Hundreds of summands of 1/1000: in half precision their sum would stop to grow."""
    logits = torch.tensor([[7.0, -7.0]], dtype=dtype).repeat(500, 1)
    targets = torch.tensor([[1.0, 0.0]], dtype=dtype).repeat(500, 1)
    term = loss(logits, targets)
    assert term.total.dtype == term.count.dtype == torch.float32
    assert term.total == loss(logits.float(), targets.float()).total
    assert term.total > 0


def test_a_row_that_is_partly_known_counts_in_no_softmax():
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0]], requires_grad=True)
    term = losses.softmax_cross_entropy(logits, torch.tensor([[1.0, 0.0], [NAN, 1.0]]))
    close(term.total, math.log(2))
    close(term.count, 1.0)
    term.mean.backward()
    assert logits.grad[1].tolist() == [0, 0]


def test_label_weights_are_those_of_torchs_binary_cross_entropy():
    logits, targets, weights = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float(), torch.tensor([1.0, 0.5, 4.0])
    expected = nn.BCEWithLogitsLoss(weight=weights)(logits, targets)
    torch.testing.assert_close(losses.sigmoid_cross_entropy(logits, targets, weights).mean, expected)


def test_an_epochs_weighted_mean_does_not_depend_on_the_batches():
    logits, targets = torch.randn(7, 3), torch.eye(3)[[0, 0, 1, 2, 2, 1, 0]]
    weights = torch.tensor([1.0, 1.0, 4.0])
    parts = [losses.softmax_cross_entropy(logits[s], targets[s], weights) for s in (slice(2), slice(2, 7))]
    whole = losses.Term(parts[0].total + parts[1].total, parts[0].count + parts[1].count)
    expected = nn.CrossEntropyLoss(weight=weights)(logits, targets.argmax(dim=1))
    torch.testing.assert_close(whole.mean, expected)


@pytest.mark.parametrize("loss", [losses.sigmoid_cross_entropy, losses.softmax_cross_entropy])
def test_nothing_known_is_zero_with_a_zero_gradient(loss):
    logits = torch.randn(3, 2, requires_grad=True)
    mean = loss(logits, torch.full((3, 2), NAN)).mean
    mean.backward()
    assert mean == 0
    assert torch.equal(logits.grad, torch.zeros(3, 2))


@pytest.mark.parametrize("loss", [losses.sigmoid_cross_entropy, losses.softmax_cross_entropy])
def test_unknown_targets_give_no_gradient_and_no_nan(loss):
    logits = torch.randn(2, 2, requires_grad=True)
    loss(logits, torch.tensor([[1.0, 0.0], [NAN, NAN]])).mean.backward()
    assert logits.grad[1].eq(0).all()
    assert logits.grad[0].ne(0).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=8, max_size=8), st.integers(1, 7))
def test_sums_do_not_depend_on_the_cut(labels, cut):
    logits, targets = torch.linspace(-2, 2, 8)[:, None], torch.tensor(labels)[:, None]
    whole = losses.sigmoid_cross_entropy(logits, targets)
    parts = [losses.sigmoid_cross_entropy(logits[s], targets[s]) for s in (slice(cut), slice(cut, None))]
    close(whole.total, float(parts[0].total + parts[1].total))
    close(whole.count, float(parts[0].count + parts[1].count))


@pytest.fixture
def head():
    torch.manual_seed(0)
    return BoxHead([4], 64, BoxHeadSettings(channels=4))


def test_least_squares_and_iou_by_hand(head):
    """Two anchors; the second image has no box."""
    anchors = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60]])
    deltas = torch.zeros(2, 2, 4, requires_grad=True)
    box = torch.tensor([[2.0, 0, 22, 20]])  # IoU with the first anchor: 18 / 22
    terms = losses.box_terms(head, BoxOutput(deltas, None, anchors), [box, torch.zeros(0, 4)])
    close(terms.regression.total, 0.1**2)  # dx = 2 / 20; dy = dw = dh = 0
    close(terms.regression.count, 1.0)
    close(terms.iou.mean, 18 / 22)
    assert terms.objectness is None
    terms.regression.mean.backward()
    close(deltas.grad[0, 0, 0], -0.2)
    assert deltas.grad.count_nonzero() == 1


def test_focal_loss_by_hand(head):
    anchors = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60], [0, 0, 20, 9.0]])
    logits = torch.zeros(2, 3)
    box = torch.tensor([[0.0, 0, 20, 20]])  # IoU with the third anchor 0.45: neither box nor background
    terms = losses.box_terms(head, BoxOutput(torch.zeros(2, 3, 4), logits, anchors), [box, torch.zeros(0, 4)])
    one = 0.25 * 0.25 * math.log(2)  # alpha (1 - p)^2 -log p at p = 0.5
    none = 0.75 * 0.25 * math.log(2)
    close(terms.objectness.total, (one + none) / 1 + 3 * none)
    close(terms.objectness.count, 2.0)


def test_no_match_is_zero_with_a_zero_gradient(head):
    output = head([torch.rand(2, 4, 8, 8)])
    degenerate = torch.tensor([[5.0, 5.0, 5.0, 9.0]])
    terms = losses.box_terms(head, output, [torch.zeros(0, 4), degenerate])
    assert terms.regression.mean == 0
    (terms.regression.mean + terms.objectness.mean).backward()
    assert all(p.grad is not None for p in head.parameters())
    assert all(p.grad.eq(0).all() for p in head.boxes.parameters())
    assert head.objects[-1].bias.grad.ne(0).all()  # it learns that there is nothing


def test_weight_penalty(head):
    weights = [p for name, p in head.boxes.named_parameters() if name.endswith("weight")]
    assert len(weights) == 5
    close(losses.weight_penalty(head), float(sum((w**2).sum() for w in weights)))


LOGITS = torch.tensor([[0.3], [-1.2], [0.7], [2.0], [-0.4], [1.5]])
TARGETS = torch.tensor(
    [[1.0], [NAN], [NAN], [0.0], [1.0], [1.0]]
)  # one is known to the first process, three to the other


def gradient_on_half(rank: int) -> float:
    weight = torch.tensor(0.5, requires_grad=True)
    half = slice(3 * rank, 3 * rank + 3)
    terms = {"loss": losses.sigmoid_cross_entropy(weight * LOGITS[half], TARGETS[half])}
    losses.share_counts(terms)["loss"].mean.backward()
    return float(weight.grad)


def test_two_processes_have_the_gradient_of_one(tmp_path: Path):
    """As DDP averages them; each divided by its own count, the one label of the first would count as much as three."""
    weight = torch.tensor(0.5, requires_grad=True)
    losses.sigmoid_cross_entropy(weight * LOGITS, TARGETS).mean.backward()
    close(weight.grad, sum(on_two_processes(gradient_on_half, tmp_path)) / 2)


def test_alone_a_process_keeps_its_counts():
    terms = {"loss": losses.Term(torch.tensor(3.0), torch.tensor(2.0))}
    assert losses.share_counts(terms) is terms


def test_an_images_focal_loss_is_shared_by_its_matched_anchors(head):
    anchors = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 19], [40, 40, 60, 60]])
    box = torch.tensor([[0.0, 0, 20, 20]])
    terms = losses.box_terms(head, BoxOutput(torch.zeros(1, 3, 4), torch.zeros(1, 3), anchors), [box])
    one, none = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    close(terms.objectness.total, (2 * one + none) / 2)
