import math

import pytest
import torch

from experiments.schema import Task, TaskKind, Weighting
from lightning_modules.losses.weighting import LossWeighting

TASKS = [Task(name="a", loss_weight=2.0), Task(name="b", kind=TaskKind.boxes)]
LOSSES = {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}
KNOWN = {"a": torch.tensor(True), "b": torch.tensor(True)}


@pytest.mark.parametrize(("weighting", "parts"), [("mean", [2.0, 5 / 3]), ("sum", [6.0, 5.0])])
def test_fixed_weights(weighting, parts):
    module = LossWeighting(TASKS, Weighting(weighting))
    torch.testing.assert_close(module(LOSSES, KNOWN), torch.tensor(parts))
    torch.testing.assert_close(module.evaluate(LOSSES), torch.tensor(sum(parts)))
    torch.testing.assert_close(module.evaluate({"b": LOSSES["b"]}), torch.tensor(5.0))
    assert module.weights() is None
    assert not list(module.parameters())


def test_uncertainty_settles_where_the_derivative_says():
    """Classification: exp(-s) L = 1/2 at the optimum; boxes: exp(-s) L / 2 = 1/2."""
    module = LossWeighting(TASKS, Weighting.uncertainty)
    torch.testing.assert_close(module(LOSSES, KNOWN), torch.tensor([6.0, 2.5]))
    torch.testing.assert_close(module.evaluate(LOSSES), torch.tensor((2 * 3 + 5) / 3))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        module(LOSSES, KNOWN).sum().backward()
        optimizer.step()
    weights = module.weights()
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([1 / 12, 1 / 5]), rtol=1e-3, atol=0)


def test_learnt_weights_by_hand():
    """s = ln 2 and ln 4: 2 * 3 / 2 + ln(2) / 2 of the labels, 5 / 4 / 2 + ln(4) / 2 of the boxes."""
    module = LossWeighting(TASKS, Weighting.uncertainty)
    with torch.no_grad():
        module.log_variances.copy_(torch.tensor([2.0, 4.0]).log())
    torch.testing.assert_close(module(LOSSES, KNOWN), torch.tensor([3 + math.log(2) / 2, 0.625 + math.log(2)]))
    torch.testing.assert_close(module.weights(), torch.tensor([1 / 2, 1 / 4]))
    assert not module.weights().requires_grad
    unknown = module(LOSSES, KNOWN | {"a": torch.tensor(False)})
    torch.testing.assert_close(unknown, torch.tensor([3.0, 0.625 + math.log(2)]))


def test_a_task_of_which_nothing_is_known_keeps_its_uncertainty():
    """Also a box task, whose loss is not 0 then: the penalty of its weights is left."""
    module = LossWeighting(TASKS, Weighting.uncertainty)
    module({"a": torch.tensor(3.0), "b": torch.tensor(0.1)}, KNOWN | {"b": torch.tensor(False)}).sum().backward()
    assert module.log_variances is not None
    assert module.log_variances.grad is not None
    assert module.log_variances.grad.tolist() == [0.5 - 6.0, 0.0]
