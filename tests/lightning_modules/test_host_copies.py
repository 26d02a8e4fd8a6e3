"""A training step on fake CUDA tensors: nothing is copied from the host, and nothing waits for the device."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.batch import Batch, TaskBatch
from experiments.schema import TaskKind
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import SIZE, experiment

_WAITS = ("_local_scalar_dense", "nonzero", "equal.default")  # whose results the host must have


class HostCopies(TorchDispatchMode):
    """Notes the operations that move numbers between host and device, or make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = str(func)
        devices = [{t.device.type for t in tree_leaves(tree) if isinstance(t, torch.Tensor)} for tree in (args, out)]
        copies = name.startswith(("aten._to_copy", "aten.copy_")) and len(devices[0] | devices[1]) > 1
        if copies or any(wait in name for wait in _WAITS):
            self.found.append(name)
        return out


class Step(nn.Module):
    def __init__(self, module: MultiTaskModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.module.training_step(batch, 0)["loss"]


def copies_in_a_step(*settings: str) -> list[str]:
    module = MultiTaskModule(experiment(*settings))
    step = Step(module)
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = {
            name: torch.empty(t.shape, dtype=t.dtype, device="cuda").requires_grad_(t.requires_grad)
            for name, t in [*step.named_parameters(), *step.named_buffers()]
        }
        batch = _batch(module)
        for _ in range(2):  # in the first step the anchors are brought to the device
            with HostCopies() as copies:
                torch.func.functional_call(step, state, (batch,))
    return copies.found


def _batch(module: MultiTaskModule) -> Batch:
    rows = {source: slice(2 * i, 2 * i + 2) for i, source in enumerate(("covidx", "rsna", "nih"))}
    tasks = {}
    for task in module.experiment.active:
        boxes = [torch.empty((n, 4), device="cuda") for n in (2, 0)] if task.kind is TaskKind.boxes else []
        tasks[task.name] = TaskBatch(rows[task.source], torch.empty((2, len(task.labels)), device="cuda"), boxes)
    return Batch(torch.empty((6, 1, SIZE, SIZE), dtype=torch.uint8, device="cuda"), tasks)


def test_a_copy_would_be_found():
    with FakeTensorMode(), HostCopies() as copies:
        values = torch.empty(3, device="cuda")
        values + values.new_tensor([1.0, 2.0, 3.0])
        values.sum().cpu()
    assert len(copies.found) == 2


@pytest.mark.parametrize("weighting", ["mean", "sum", "uncertainty"])
def test_a_step_copies_nothing_and_waits_for_nothing(weighting: str):
    assert not copies_in_a_step(f"losses.weighting={weighting}")


def test_nor_with_class_weights():
    assert not copies_in_a_step("tasks.covidx.class_weights=[1.0, 2.0, 3.0]")
