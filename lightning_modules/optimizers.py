"""Any optimizer and learning rate scheduler of PyTorch by name; the defaults are the paper's Adam and MultiStepLR."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch import nn
from torch.optim import lr_scheduler

from experiments import schema
from experiments.errors import UserError, nearest

_DEFAULT = schema.Scheduler()


def build_optimizer(parameters: Iterable[nn.Parameter], settings: schema.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that the ``optimizer`` section names.

    Raises:
        UserError: No such optimizer, or an option that it does not take.
    """
    return _build("optimizer", torch.optim, torch.optim.Optimizer, settings, list(parameters), {"lr": settings.lr})


def build_scheduler(optimizer: torch.optim.Optimizer, settings: schema.Scheduler) -> LRSchedulerConfigType | None:
    """Lightning's scheduler configuration for the ``scheduler`` section; None for no scheduler.

    ReduceLROnPlateau watches ``val/loss``.

    Raises:
        UserError: No such scheduler, an option that it does not take, an unknown interval.
    """
    if settings.name is None:
        return None
    if settings.interval not in ("epoch", "step"):
        raise UserError(f"scheduler.interval: takes epoch or step, not {settings.interval!r}")
    # A YAML's options are merged into the defaults: MultiStepLR's milestones must not reach another scheduler.
    options = dict(settings.options)
    if settings.name == _DEFAULT.name:
        options = _DEFAULT.options | options
    else:
        options = {key: value for key, value in options.items() if _DEFAULT.options.get(key) != value}
    settings = schema.Scheduler(settings.name, settings.interval, options)
    scheduler = _build("scheduler", lr_scheduler, lr_scheduler.LRScheduler, settings, optimizer, {})
    configuration: LRSchedulerConfigType = {"scheduler": scheduler, "interval": settings.interval}
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        configuration["monitor"] = "val/loss"
    return configuration


def _build(
    section: str, module: ModuleType, base: type, settings: Any, subject: Any, arguments: dict[str, float]
) -> Any:
    """``module.<settings.name>(subject, **arguments, **settings.options)``, every mistake a message."""
    known = {
        name: cls
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and not name.startswith("_")
    }
    cls = known.get(settings.name)
    if cls is None:
        raise UserError(f"{section}.name: no {settings.name!r} in {module.__name__}{nearest(settings.name, known)}")
    taken = [name for name in list(inspect.signature(cls).parameters)[1:] if name not in arguments]
    for option in settings.options:
        if option not in taken:
            raise UserError(f"{section}.options.{option}: {settings.name} has no such option{nearest(option, taken)}")
    try:
        return cls(subject, **arguments, **settings.options)
    except (TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        raise UserError(f"{section}: {settings.name} refuses its options {settings.options}: {error}") from error
