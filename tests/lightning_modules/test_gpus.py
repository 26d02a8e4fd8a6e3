import re

import pytest
import torch

from experiments.errors import UserError
from lightning_modules import gpus
from lightning_modules.gpus import Gpu, Machine, find_obstacle, look_at_machine, require_usable_gpus

A100 = Gpu("NVIDIA A100", (8, 0))
KERNELS = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_120"]


def machine(*found: Gpu, driver=(13, 2), built_for=(13, 2), kernels=KERNELS, usable=(), visible=None) -> Machine:
    return Machine(found, driver, built_for, kernels, usable, visible)


@pytest.mark.parametrize(
    "fine",
    [
        machine(),
        machine(A100, usable=(A100,)),
        machine(A100, driver=(13, 0), usable=(A100,)),  # minor versions run on any driver of the major one
        machine(A100, driver=(14, 0), usable=(A100,)),
        machine(A100, Gpu("GTX 1080", (6, 1)), usable=(A100,)),  # hidden by CUDA_VISIBLE_DEVICES
        machine(Gpu("L4", (8, 9)), usable=(Gpu("L4", (8, 9)),)),
        machine(Gpu("next", (13, 0)), kernels=["sm_90", "compute_90"], usable=(Gpu("next", (13, 0)),)),
        machine(A100, built_for=None, visible=""),  # hidden on purpose
        machine(A100, driver=(11, 4), visible="-1"),
    ],
)
def test_nothing_is_in_the_way(fine: Machine):
    assert find_obstacle(fine) is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (machine(A100, built_for=None), r"built for CPUs alone: rm -r \.venv and make env$"),
        (machine(A100, driver=(12, 9)), r"driver runs CUDA 12\.9, PyTorch is built for 13\.2: .* TORCH=cu126"),
        (machine(Gpu("Tesla V100", (7, 0))), r"no kernels for Tesla V100 \(compute capability 7\.0; it has sm_75, "),
        (machine(A100, A100, usable=(Gpu("GTX 1080", (6, 1)),)), "no kernels for GTX 1080"),
        (machine(Gpu("next", (13, 0))), "no kernels for next"),
        (machine(A100._replace(mig=True)), "MIG splits it .* CUDA_VISIBLE_DEVICES=MIG-<id>"),
        (machine(A100, visible="7"), r"finds none \(CUDA_VISIBLE_DEVICES=7\)"),
    ],
)
def test_what_is_in_the_way_is_named(broken: Machine, message: str, monkeypatch: pytest.MonkeyPatch):
    obstacle = find_obstacle(broken)
    assert obstacle is not None
    assert re.search(message, obstacle)
    monkeypatch.setattr(gpus, "look_at_machine", lambda: broken)
    with pytest.raises(UserError, match=r"has \d GPU\(s\) \(.*trainer\.accelerator=cpu"):
        require_usable_gpus("auto")
    require_usable_gpus("cpu")


def test_this_machine_is_looked_at():
    found = look_at_machine()
    assert len(found.usable) == torch.cuda.device_count()
    assert find_obstacle(found) is None or found.gpus
