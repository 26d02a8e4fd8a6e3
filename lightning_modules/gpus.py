"""Whether PyTorch can use the GPUs that the machine has: one message instead of a silent training on the CPU."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import pynvml
import torch

from experiments.errors import UserError


class Gpu(NamedTuple):
    """A GPU as NVIDIA's management library sees it.

    Attributes:
        name: As ``nvidia-smi -L`` prints it.
        capability: Compute capability, major and minor.
        mig: Whether it is split into instances (MIG); then only its instances can be used.
    """

    name: str
    capability: tuple[int, int]
    mig: bool = False


class Machine(NamedTuple):
    """What decides whether PyTorch can use the GPUs.

    Attributes:
        gpus: All of the machine, visible to this process or not.
        driver: Newest CUDA version that the driver runs, such as (12, 4).
        built_for: CUDA version that PyTorch is built for; None: for CPUs alone.
        architectures: What its kernels are compiled for, such as ``sm_90`` or ``compute_120``.
        usable: Those that PyTorch finds.
        visible: ``CUDA_VISIBLE_DEVICES``; None where it is not set.
    """

    gpus: tuple[Gpu, ...]
    driver: tuple[int, int]
    built_for: tuple[int, int] | None
    architectures: Sequence[str]
    usable: tuple[Gpu, ...]
    visible: str | None = None


def require_usable_gpus(accelerator: object) -> None:
    """Refuse to go on with the CPU on a machine whose GPUs cannot be used, unless the CPU was asked for.

    Args:
        accelerator: ``trainer.accelerator``; None: Lightning's choice.

    Raises:
        UserError: The GPUs, what is in the way, and what to do.
    """
    if accelerator not in (None, "auto", "gpu", "cuda"):
        return
    machine = look_at_machine()
    obstacle = find_obstacle(machine)
    if obstacle is not None:
        names = ", ".join(sorted({gpu.name for gpu in machine.gpus}))
        raise UserError(
            f"trainer.accelerator: this machine has {len(machine.gpus)} GPU(s) ({names}) that cannot be used: "
            f"{obstacle}; or say trainer.accelerator=cpu to go on without"
        )


def find_obstacle(machine: Machine) -> str | None:
    """Return why PyTorch cannot use the machine's GPUs, with what to do; None where it can, or where there are none.

    Example:
        >>> gpu = Gpu("NVIDIA A100", (8, 0))
        >>> find_obstacle(Machine((gpu,), driver=(12, 4), built_for=(13, 0), architectures=["sm_80"], usable=()))
        'the driver runs CUDA 12.4, PyTorch is built for 13.0: update the driver, or take a PyTorch ...'
    """
    hidden = machine.visible is not None and machine.visible.strip() in ("", "-1", "NoDevFiles")
    if not machine.gpus or hidden:
        return None
    if machine.built_for is None:
        return "PyTorch is built for CPUs alone: rm -r .venv and make env"

    # CUDA's minor versions run on any driver of the major one
    if machine.driver[0] < machine.built_for[0]:
        return (
            f"the driver runs CUDA {_version(machine.driver)}, PyTorch is built for {_version(machine.built_for)}: "
            "update the driver, or take a PyTorch for it: rm -r .venv and make env TORCH=cu126"
        )
    for gpu in machine.usable or machine.gpus:
        if not _has_kernels(gpu.capability, machine.architectures):
            return (
                f"PyTorch has no kernels for {gpu.name} (compute capability {_version(gpu.capability)}; it has "
                f"{', '.join(machine.architectures)}): rm -r .venv and make env TORCH=cu126, which has older ones, "
                "or a newer PyTorch"
            )
    if machine.usable:
        return None
    if any(gpu.mig for gpu in machine.gpus):
        return "MIG splits it and no instance is visible: CUDA_VISIBLE_DEVICES=MIG-<id> (nvidia-smi -L lists them)"
    where = f" (CUDA_VISIBLE_DEVICES={machine.visible})" if machine.visible is not None else ""
    return f"PyTorch finds none{where}: {_reason_of_cuda()}"


def look_at_machine() -> Machine:
    """Return what this machine has; without NVIDIA's driver, no GPUs."""
    try:
        pynvml.nvmlInit()
        gpus = tuple(map(_read_gpu, range(pynvml.nvmlDeviceGetCount())))
        driver = pynvml.nvmlSystemGetCudaDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:  # no driver, or one that does not answer
        gpus, driver = (), 0

    built_for = re.match(r"(\d+)\.(\d+)", torch.version.cuda or "")
    return Machine(
        gpus=gpus,
        driver=(driver // 1000, driver % 1000 // 10),
        built_for=(int(built_for[1]), int(built_for[2])) if built_for else None,
        architectures=torch.cuda.get_arch_list(),
        usable=tuple(map(_usable_gpu, range(torch.cuda.device_count()))),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _read_gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        mig = pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:  # it knows no MIG
        mig = False
    name = pynvml.nvmlDeviceGetName(handle)
    return Gpu(name, tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)), mig)


def _usable_gpu(index: int) -> Gpu:
    return Gpu(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index))


def _has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether a GPU runs binary code of its own major version, or code that is compiled for it when loaded.

    Example:
        >>> _has_kernels((8, 6), ["sm_80"]), _has_kernels((7, 0), ["sm_80"]), _has_kernels((12, 0), ["compute_90"])
        (True, False, True)
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")  # sm_90a, sm_100f: a family's own instructions
        version = (int(digits[:-1]), int(digits[-1]))
        if version <= capability and (kind == "compute" or version[0] == capability[0]):
            return True
    return False


def _reason_of_cuda() -> str:
    """What CUDA itself says when it is begun."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return "see nvidia-smi"


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
