import math

import pytest
import torch

from experiments.schema import TaskKind
from lightning_modules.losses.consistency import divergence


def test_a_single_image_counts_once():
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    original = torch.tensor([[math.log(3.0)]])
    assert float(divergence(original, torch.zeros(1, 1), TaskKind.multilabel)) == pytest.approx(expected)
    both = torch.cat([original, torch.zeros(1, 1)], dim=1)
    assert float(divergence(both, torch.zeros(1, 2), TaskKind.multiclass)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [TaskKind.multilabel, TaskKind.multiclass])
def test_half_precision_is_read_in_float32(kind):
    original, received = torch.tensor([[3.0, -2.0]]).bfloat16(), torch.tensor([[2.0, 1.0]]).bfloat16()
    found = divergence(original, received, kind)
    assert found.dtype == torch.float32
    assert found == divergence(original.float(), received.float(), kind)


@pytest.mark.parametrize("kind", [TaskKind.multilabel, TaskKind.multiclass])
def test_by_hand(kind):
    """p = 3/4 against q = 1/2: KL = 3/4 ln(3/2) + 1/4 ln(1/2)."""
    logit = math.log(3.0)
    original, copy = torch.tensor([[logit], [0.0]]), torch.zeros(2, 1, requires_grad=True)
    if kind is TaskKind.multiclass:
        original, copy = torch.cat([original, torch.zeros(2, 1)], 1), torch.zeros(2, 2, requires_grad=True)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    found = divergence(original.requires_grad_(), copy, kind)
    assert float(found) == pytest.approx(expected)
    found.backward()
    assert original.grad is None
    assert copy.grad is not None
    assert copy.grad[0, 0] == pytest.approx((0.5 - 0.75) / 2)
    assert float(divergence(original, original, kind)) == pytest.approx(0, abs=1e-7)
    assert float(divergence(original[:0], copy[:0], kind)) == 0
