"""What Lightning and torchmetrics keep private and covidmt needs: every private name of both stands here.

Written for lightning 2.6.6 and torchmetrics 1.9.0. ``PRIVATE_NAMES`` says of each name which public way is missing;
`tests/callbacks/test_lightning_state.py` looks all of them up, and says so in one line when a library has changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import launchers
from lightning.pytorch.trainer.connectors.logger_connector import result
from torch import Tensor
from torchmetrics import Metric

WRITTEN_FOR = {"lightning": "2.6.6", "torchmetrics": "1.9.0"}

# from a Trainer, a Metric or a module of Lightning: the public way that is missing
PRIVATE_NAMES = {
    "trainer._signal_connector.register_signal_handlers": "no argument of Trainer turns its signal handlers off",
    "trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor": "no argument of Trainer turns off its exchange about "
    "SIGTERM, which synchronises the device in every step",
    "launchers._SubprocessScriptLauncher": "the processes that Lightning started cannot be signalled by a public name",
    "trainer.fit_loop._restarting": "no public name ends a restart, so that an epoch begins and ends as any other",
    "trainer.fit_loop.epoch_loop._restarting": "as fit_loop._restarting",
    "trainer.fit_loop.epoch_loop.val_loop._restarting": "as fit_loop._restarting",
    "trainer.fit_loop._data_fetcher": "what _should_check_val_fx takes",
    "trainer.fit_loop.epoch_loop._should_check_val_fx": "no public name says whether a validation follows this step",
    "trainer.fit_loop.epoch_loop._should_accumulate": "no public name says whether gradients are being accumulated",
    "trainer.fit_loop.epoch_loop._batches_that_stepped": "no public name gives the step that loggers get numbers with",
    "trainer._logger_connector._first_loop_iter": "after a resume Lightning takes any step for its epoch's first, and "
    "empties the running means",
    "trainer.fit_loop.epoch_loop._results": "checkpoints lack the running means of self.log(..., on_epoch=True)",
    "result._ResultMetric": "as epoch_loop._results",
    "result._Metadata": "as epoch_loop._results",
    "result._Sync": "as epoch_loop._results",
    "metric._update_count": "a Metric's update_count can be read, and not set",
}

Moment = Literal["step", "epoch", "validation", "end"]
"""When a checkpoint is written: before a batch that is not its epoch's first, before the first, before a validation,
or at the end of the fit."""

_METADATA = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")
_METADATA += ("dataloader_idx", "metric_attribute")


class RandomState(TypedDict):
    """The states of all random number generators of a process, in types that ``weights_only`` loads."""

    python: tuple[Any, ...]
    numpy: tuple[Any, ...]
    torch: Tensor
    cuda: Tensor | None


class LoggedValue(TypedDict):
    """What ``self.log(..., on_epoch=True)`` has gathered under one key since the epoch began.

    ``state`` is None for a Metric that was logged: its state is the module's.
    """

    meta: dict[str, Any]
    sync: tuple[bool, bool]
    state: dict[str, Tensor] | None
    count: int


class ProcessState(TypedDict):
    """What a process has in memory alone; ``metrics`` are the states and update counts of the module's Metrics."""

    random: RandomState
    callback_metrics: dict[str, Tensor]
    results: dict[str, LoggedValue]
    metrics: dict[str, tuple[dict[str, Tensor | list[Tensor]], int]]


def collect_process_state(trainer: Trainer, module: LightningModule) -> ProcessState:
    """Return what this process has in memory alone, which Lightning's checkpoints lack; its tensors on the CPU.

    Processes send it to each other: a tensor on one process's GPU would be put on that GPU by all of them.
    """
    metrics = {
        name: (dict(metric.metric_state), metric.update_count)
        for name, metric in module.named_modules()
        if isinstance(metric, Metric) and metric.update_count
    }
    state: ProcessState = {
        "random": random_state(),
        "callback_metrics": dict(trainer.callback_metrics),
        "results": _logged_values(trainer),
        "metrics": metrics,
    }
    return move_data_to_device(state, "cpu")


def restore_process_state(trainer: Trainer, module: LightningModule, state: ProcessState) -> None:
    """Put back what :func:`collect_process_state` returned, on any device, and end Lightning's restart."""
    state, device = move_data_to_device(state, "cpu"), trainer.strategy.root_device
    trainer.fit_loop._restarting = False  # else this epoch's end would step no scheduler

    # what was logged
    trainer.callback_metrics.update(move_data_to_device(state["callback_metrics"], device))
    for key, logged in state["results"].items():
        trainer.fit_loop.epoch_loop._results[key] = _result_metric(trainer, module, logged).to(device)

    # the module's Metrics
    for name, (values, count) in state["metrics"].items():
        metric = module.get_submodule(name)
        for key, value in move_data_to_device(values, device).items():
            setattr(metric, key, value)
        metric._update_count = count

    # last: nothing may draw a number after it
    set_random_state(state["random"])


def _logged_values(trainer: Trainer) -> dict[str, LoggedValue]:
    return {
        key: {
            "meta": {name: getattr(item.meta, name) for name in _METADATA}
            | {"reduce_fx": item.meta.reduce_fx.__name__},
            "sync": (item.meta.sync.should, item.meta.sync.rank_zero_only),
            "state": dict(item.metric_state) if item.is_tensor else None,
            "count": item.update_count,
        }
        for key, item in trainer.fit_loop.epoch_loop._results.items()
        if item.meta.on_epoch and not item.has_reset
    }


def _result_metric(trainer: Trainer, module: LightningModule, logged: LoggedValue) -> result._ResultMetric:
    should, rank_zero_only = logged["sync"]
    meta = result._Metadata(**logged["meta"])
    meta.sync = result._Sync(fn=trainer.strategy.reduce, _should=should, rank_zero_only=rank_zero_only)

    state = logged["state"]
    metric = result._ResultMetric(meta, is_tensor=state is not None)
    values = {"value": module.get_submodule(str(meta.metric_attribute))} if state is None else state
    for name, value in values.items():
        setattr(metric, name, value)
    metric._update_count = logged["count"]
    return metric


def random_state() -> RandomState:
    """Return the random states of Python, NumPy, PyTorch and this process's GPU.

    Example:
        >>> state = random_state()
        >>> first = torch.rand(2)
        >>> set_random_state(state)
        >>> torch.equal(torch.rand(2), first)
        True
    """
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: RandomState) -> None:
    """Set the random states that :func:`random_state` returned; tensors on the CPU."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def settle_loops(loops: dict[str, Any], moment: Moment) -> None:
    """Change the loops' counters in a checkpoint so that Lightning resumes at this moment and repeats nothing.

    Args:
        loops: ``checkpoint["loops"]["fit_loop"]``.
        moment: When the checkpoint is written.
    """
    if moment in ("step", "epoch"):
        batches = loops["epoch_loop.batch_progress"]
        batches["is_last_batch"] = False
        for counter in (batches["total"], batches["current"]):
            counter["ready"] -= 1

    if moment == "epoch":
        for counter in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
            counter["ready"] -= 1
            counter["started"] -= 1

    if moment == "validation":  # counted as begun, which tells Lightning to begin it
        batches = loops["epoch_loop.val_loop.batch_progress"]
        for counter in (batches["total"], batches["current"]):
            counter["ready"] += 1
            counter["started"] += 1


def resume_at_validation(trainer: Trainer) -> None:
    """Take back in a resumed Trainer what :func:`settle_loops` counted for a validation."""
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    progress.ready = progress.started = progress.completed  # ty: ignore[missing-attribute]


def resume_at_epoch(trainer: Trainer) -> None:
    """Make a resumed Trainer begin an epoch as any other, also under ``max_steps``, where Lightning does not."""
    for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop):
        loop._restarting = False
        loop.reset_restart_stage()


def keep_running_means(trainer: Trainer) -> None:
    """Keep Lightning from emptying the epoch's running means in the first step after a resume."""
    trainer._logger_connector._first_loop_iter = False


def is_validation_next(trainer: Trainer) -> bool:
    """Return whether a validation follows the training step that has just ended."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def logged_step(trainer: Trainer) -> int:
    """Return the step with which Lightning gives its loggers the numbers of a validation or test."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def is_accumulating(trainer: Trainer) -> bool:
    """Return whether gradients of batches are waiting for their optimizer step."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def disable_signal_handling(trainer: Trainer) -> None:
    """Make a Trainer install no signal handlers, and its processes exchange nothing about SIGTERM."""
    trainer._signal_connector.register_signal_handlers = lambda: None
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None


def child_killer(trainer: Trainer) -> Callable[[int], None] | None:
    """Return what sends a signal to the processes that Lightning started from this one; None if there are none."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, launchers._SubprocessScriptLauncher) and launcher.procs:
        return launcher.kill
    return None
