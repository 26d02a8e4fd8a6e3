"""Any optimizer and learning rate scheduler of PyTorch by name; the defaults are the paper's Adam and MultiStepLR."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch import nn
from torch.optim import lr_scheduler

from experiments import schema
from experiments.errors import UserError, nearest
from experiments.loading.places import describe_unknown
from experiments.plugins.choices import Choice
from experiments.plugins.registry import find, points

_DEFAULT = schema.Scheduler()


def build_optimizer(parameters: Iterable[nn.Parameter], settings: schema.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer that the ``optimizer`` section names.

    Args:
        parameters: What it trains.
        settings: Any optimizer of ``torch.optim`` by name, its learning rate and its options.

    Raises:
        UserError: No such optimizer, or an option that it does not take.

    Example:
        >>> weights = [nn.Parameter(torch.zeros(2))]
        >>> optimizer = build_optimizer(weights, schema.Optimizer(name="SGD", lr=0.1, options={"momentum": 0.9}))
        >>> type(optimizer).__name__, optimizer.defaults["lr"], optimizer.defaults["momentum"]
        ('SGD', 0.1, 0.9)
    """
    choice = Choice.parse(settings.name, "optimizer.name")
    cls = _class("optimizer", torch.optim, torch.optim.Optimizer, choice)
    arguments = {"lr": settings.lr} | dict(choice.arguments)
    return _build("optimizer", cls, list(parameters), arguments, settings.options)


def build_scheduler(optimizer: torch.optim.Optimizer, settings: schema.Scheduler) -> LRSchedulerConfigType | None:
    """Return Lightning's scheduler configuration for the ``scheduler`` section; None for no scheduler.

    ReduceLROnPlateau watches ``val/loss``.

    Args:
        optimizer: Whose learning rate it sets.
        settings: Any scheduler of ``torch.optim.lr_scheduler`` by name, its options, and its interval.

    Raises:
        UserError: No such scheduler, an option that it does not take, an unknown interval.

    Example:
        The paper's schedule: a tenth of the learning rate after epochs 8, 16 and 20.

        >>> optimizer = build_optimizer([nn.Parameter(torch.zeros(2))], schema.Optimizer())
        >>> schedule = build_scheduler(optimizer, schema.Scheduler())
        >>> sorted(schedule["scheduler"].milestones), schedule["interval"]
        ([8, 16, 20], 'epoch')
    """
    if settings.name is None:
        return None
    if settings.interval not in ("epoch", "step"):
        raise UserError(f"scheduler.interval: takes epoch or step, not {settings.interval!r}")

    # A YAML's options are merged into the defaults: MultiStepLR's milestones must not reach another scheduler.
    choice = Choice.parse(settings.name, "scheduler.name")
    options = dict(settings.options)
    if choice.name == _DEFAULT.name:
        options = _DEFAULT.options | options
    else:
        options = {key: value for key, value in options.items() if _DEFAULT.options.get(key) != value}

    cls = _class("scheduler", lr_scheduler, lr_scheduler.LRScheduler, choice)
    scheduler = _build("scheduler", cls, optimizer, dict(choice.arguments), options)
    configuration: LRSchedulerConfigType = {"scheduler": scheduler, "interval": settings.interval}
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        configuration["monitor"] = "val/loss"
    return configuration


def _class(section: str, module: ModuleType, base: type, choice: Choice) -> Callable[..., Any]:
    """An own class, or the module's public class of this name below ``base``."""
    if choice.is_class or choice.name in points(f"{section}s"):
        return find(f"{section}s", choice.name, f"{section}.name")
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and not key.startswith("_")
    }
    if choice.name not in classes:
        raise UserError(f"{section}.name: no {choice.name!r} in {module.__name__}{nearest(choice.name, classes)}")
    return classes[choice.name]


def _build(
    section: str, cls: Callable[..., Any], subject: object, arguments: dict[str, Any], options: dict[str, object]
) -> Any:
    """``cls(subject, **arguments, **options)``, with a message for every mistake in the options."""
    name = getattr(cls, "__name__", str(cls))
    parameters = inspect.signature(cls).parameters
    accepted = [each for each in list(parameters)[1:] if each not in arguments]
    is_open = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for option in options:
        if option not in accepted and not is_open:
            hint = describe_unknown(f"{section}.options.{option}", accepted)
            raise UserError(f"{section}.options.{option}: {name} has no such option{hint}")
    try:
        return cls(subject, **arguments, **options)
    except (TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        raise UserError(f"{section}: {name} refuses its options {options}: {error}") from error
