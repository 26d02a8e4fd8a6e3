"""Checkpoints from which a training goes on to the very bits that it would have reached without a break.

Lightning saves weights, optimizers, schedulers, loops and callbacks. What it lacks is here: the random states, the
epoch's running means and torchmetrics' states, of every process; files that are there whole or not at all; and the
moment. A checkpoint is only written where nothing is under way: before a training step, all of the earlier ones logged
(and before the first step of an epoch, which is how an epoch's end is saved); before a validation; at the end of the
fit. It is never written between accumulated batches, nor in the step after a validation within an epoch, where
Lightning's loops would count a step twice.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.connectors.logger_connector.result import (
    _Metadata,
    _ResultCollection,
    _ResultMetric,
    _Sync,
)
from lightning.pytorch.trainer.states import TrainerFn
from torchmetrics import Metric
from typing_extensions import override

from experiments.errors import UserError

STATE = "resume"  # the checkpoint's key of what Lightning does not save
_META = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")
_META += ("dataloader_idx", "metric_attribute")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames: a process killed meanwhile leaves the checkpoint that was there."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        path = Path(path)
        new = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)  # the rename too outlives a power cut
            os.fsync(folder)
            os.close(folder)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # PyTorch's for a full disk
                raise
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path}: the checkpoint cannot be written ({reason}): make room or set the folder right, and give the "
                "same command again; it goes on from the checkpoint before"
            ) from error
        finally:
            new.unlink(missing_ok=True)


class ResumeCheckpoint(Callback):
    """Writes ``<folder>/last.ckpt`` every N steps, before every validation, at every epoch's and the fit's end.

    Comes first among the callbacks: what the others do at the same moment is done again after resuming. To resume, give
    the file to ``Trainer.fit(ckpt_path=...)``.

    Args:
        every_n_steps: Optimizer steps between two checkpoints within an epoch.

    Attributes:
        folder: Where the checkpoint goes; set before the fit.
    """

    folder: Path

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._moment = ""  # while it saves: step, epoch, validation, end
        self._saved = (0, "")  # global step and moment of the newest checkpoint
        self._positions: list[int] = []
        self._validated = False
        self._pending: dict[str, Any] | None = None  # this process's state, until the loops are where it was saved

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / "last.ckpt"

    def save(self, trainer: Trainer, moment: str) -> None:
        """Write the checkpoint, unless it is there; all processes together.

        Args:
            trainer: At the moment named.
            moment: ``step``: before a batch that is not its epoch's first; ``epoch``: before the first; ``validation``;
                ``end``.
        """
        if self._saved == (trainer.global_step, moment):
            return
        self._moment = moment
        trainer.save_checkpoint(self.path, weights_only=False)
        self._moment = ""
        self._saved = (trainer.global_step, moment)

    def is_current(self, trainer: Trainer) -> bool:
        """Whether nothing has been trained since the newest checkpoint."""
        return self._saved[0] == trainer.global_step

    def moment(self, trainer: Trainer, batch_idx: int) -> str | None:
        """In ``on_train_batch_start``: the name of the moment, None where nothing may be saved."""
        if batch_idx == 0:
            return "epoch"
        return None if self._validated or batch_idx % trainer.accumulate_grad_batches else "step"

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._positions = _positions(trainer)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx > 0:
            self._positions = _positions(trainer)
            trainer._logger_connector._first_loop_iter = False  # after a resume Lightning would empty running means
        if self._pending is not None:
            self._restore(trainer, pl_module)
            return
        moment = self.moment(trainer, batch_idx)
        due = batch_idx == 0 or trainer.global_step - self._saved[0] >= self.every_n_steps
        if moment and due and trainer.global_step > 0:
            self.save(trainer, moment)

    @override
    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        loop = trainer.fit_loop
        assert loop._data_fetcher is not None
        self._validated = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._positions = _positions(trainer)
        self._validated = True  # also in a start that begins with it
        if self._pending is not None:
            # counted as begun in the checkpoint, which tells Lightning to begin it
            done = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
            done.ready = done.started = done.completed  # ty: ignore[missing-attribute]
            self._restore(trainer, pl_module)
        elif not trainer.fit_loop.epoch_loop._should_accumulate():
            self.save(trainer, "validation")

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._positions = _positions(trainer)
        self.save(trainer, "end")

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._moment:  # another callback's checkpoint, at a moment of its own
            return
        _settle(checkpoint["loops"]["fit_loop"], self._moment)
        states: list[Any] = [_collect(trainer, pl_module)]
        if trainer.world_size > 1:
            states = states * trainer.world_size
            torch.distributed.all_gather_object(states, states[0])
        checkpoint[STATE] = {
            "moment": self._moment,
            "stopped": trainer.should_stop,  # by a callback, before the last epoch
            "positions": self._positions,
            "processes": states,
        }

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get(STATE)
        if state is None:
            return
        own = trainer.global_rank if len(state["processes"]) == trainer.world_size else 0
        self._pending = state["processes"][own]
        self._saved = (checkpoint["global_step"], state["moment"])
        trainer.should_stop = state["stopped"]

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is not None and self._saved[1] in ("epoch", "end"):
            # a clean start of an epoch, whatever limits the training (Lightning: not under max_steps)
            for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop):
                loop._restarting = False
                loop.reset_restart_stage()

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is not None:  # there was nothing left to do
            self._restore(trainer, pl_module)

    def _restore(self, trainer: Trainer, module: LightningModule) -> None:
        assert self._pending is not None
        state, self._pending = move_data_to_device(self._pending, "cpu"), None
        device = trainer.strategy.root_device
        trainer.fit_loop._restarting = False  # else this epoch's end would step no scheduler
        trainer._logger_connector._callback_metrics.update(move_data_to_device(state["callback_metrics"], device))
        _fill_results(trainer, module, state["results"])
        for name, (values, count) in state["metrics"].items():
            metric = module.get_submodule(name)
            for key, value in move_data_to_device(values, device).items():
                setattr(metric, key, value)
            metric._update_count = count
        _set_random_state(state["random"])


def _positions(trainer: Trainer) -> list[int]:
    """How far the loggers are that can tell."""
    return [int(getattr(logger, "position")) for logger in trainer.loggers if hasattr(logger, "position")]  # noqa: B009


def _settle(loops: dict[str, Any], moment: str) -> None:
    """The loops' counters as Lightning needs them to go on right here: nothing begun that has to be begun again."""
    if moment in ("step", "epoch"):
        batches = loops["epoch_loop.batch_progress"]
        batches["is_last_batch"] = False
        for counter in (batches["total"], batches["current"]):
            counter["ready"] -= 1
    if moment == "epoch":
        for counter in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
            counter["ready"] -= 1
            counter["started"] -= 1
    if moment == "validation":
        batches = loops["epoch_loop.val_loop.batch_progress"]
        for counter in (batches["total"], batches["current"]):
            counter["ready"] += 1
            counter["started"] += 1


def _collect(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """What this process has in memory alone."""
    metrics = {
        name: (dict(metric.metric_state), metric._update_count)
        for name, metric in module.named_modules()
        if isinstance(metric, Metric) and metric._update_count
    }
    return {
        "random": _random_state(),
        "callback_metrics": dict(trainer.callback_metrics),
        "results": _results(trainer.fit_loop.epoch_loop._results),
        "metrics": metrics,
    }


def _results(results: _ResultCollection) -> dict[str, Any]:
    """What ``self.log(..., on_epoch=True)`` has gathered since the epoch began."""
    return {
        key: {
            "meta": {name: getattr(item.meta, name) for name in _META} | {"reduce_fx": item.meta.reduce_fx.__name__},
            "sync": (item.meta.sync.should, item.meta.sync.rank_zero_only),
            "state": dict(item.metric_state) if item.is_tensor else None,  # else a Metric, which is the module's
            "count": item._update_count,
        }
        for key, item in results.items()
        if item.meta.on_epoch and not item.has_reset
    }


def _fill_results(trainer: Trainer, module: LightningModule, saved: dict[str, Any]) -> None:
    for key, entry in saved.items():
        meta = _Metadata(**entry["meta"])
        should, rank_zero_only = entry["sync"]
        meta.sync = _Sync(fn=trainer.strategy.reduce, _should=should, rank_zero_only=rank_zero_only)
        item = _ResultMetric(meta, is_tensor=entry["state"] is not None)
        values = entry["state"] if item.is_tensor else {"value": module.get_submodule(str(meta.metric_attribute))}
        for name, value in values.items():
            setattr(item, name, value)
        item._update_count = entry["count"]
        trainer.fit_loop.epoch_loop._results[key] = item.to(trainer.strategy.root_device)


def _random_state() -> dict[str, Any]:
    """Of Python, NumPy, PyTorch and this process's GPU, in types that ``weights_only`` loads."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_random_state(state: dict[str, Any]) -> None:
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
