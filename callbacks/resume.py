"""Checkpoints from which a training resumes and ends with the very bits that it would have reached without a break.

Lightning saves weights, optimizers, schedulers, loops and callbacks. What it lacks is added here: the random states,
the epoch's running means and torchmetrics' states, of every process; and the moment. A checkpoint is only written
where nothing is under way: before a training step, all of the earlier ones logged (and before the first step of an
epoch, which is how an epoch's end is saved); before a validation; at the end of the fit. It is never written between
accumulated batches, nor in the step after a validation within an epoch, where Lightning's loops would count a step
twice.

How Lightning is brought to resume right there stands in `callbacks.lightning_state`; that a file is there whole or not
at all is the care of `covidmt.trainer.AtomicCheckpointIO`.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from callbacks import lightning_state
from callbacks.lightning_state import Moment, ProcessState
from experiments.errors import UserError

_FIRST_INTERVAL = 50  # steps, which tell how fast a training is
STATE = "resume"  # the checkpoint's key of what Lightning does not save


class ResumeCheckpoint(Callback):
    """Write ``<folder>/last.ckpt`` now and then, before every validation, at every epoch's and the fit's end.

    By time, the number of steps between two checkpoints follows from the speed of the steps since the last one, as the
    first process measures it: all processes count the same steps, and none asks the others before it is due.

    Comes first among the callbacks: what the others do at the same moment is done again after resuming. To resume, give
    the file to ``Trainer.fit(ckpt_path=...)``.

    Args:
        every_n_steps: Optimizer steps between two checkpoints within an epoch; None: by time.
        every_minutes: Minutes between them, by time.

    Attributes:
        folder: Where the checkpoint goes; set before the fit.
        data: What tells the data from others, plain containers; saved as it is.
    """

    folder: Path

    def __init__(self, every_n_steps: int | None = None, every_minutes: float = 10.0) -> None:
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self._interval = every_n_steps or _FIRST_INTERVAL
        self._saved_at = time.monotonic()
        self.data: Any = None
        self._saving: Moment | None = None  # while it saves
        self._saved: tuple[int, str] = (0, "")  # global step and moment of the newest checkpoint
        self._positions: list[int] = []
        self._validated = False
        self._pending: ProcessState | None = None  # this process's, until the loops are where it was saved

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / "last.ckpt"

    def save(self, trainer: Trainer, moment: Moment) -> None:
        """Write the checkpoint unless it is there already; all processes do so together.

        Args:
            trainer: At the moment named.
            moment: See :data:`callbacks.lightning_state.Moment`.
        """
        if self.is_current(trainer) and self._saved[1] == moment:
            return

        self._saving = moment
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saving = None
        if self.every_n_steps is None:
            self._interval = trainer.strategy.broadcast(self._next_interval(trainer.global_step - self._saved[0]))
        self._saved, self._saved_at = (trainer.global_step, moment), time.monotonic()

    def _next_interval(self, steps: int) -> int:
        """Return how many steps take ``every_minutes``, by the steps since the last checkpoint."""
        elapsed = time.monotonic() - self._saved_at
        return max(1, round(60 * self.every_minutes * steps / elapsed)) if steps and elapsed else self._interval

    def is_current(self, trainer: Trainer) -> bool:
        """Return whether nothing has been trained since the newest checkpoint."""
        return self._saved[0] == trainer.global_step

    def moment(self, trainer: Trainer, batch_idx: int) -> Moment | None:
        """Return in ``on_train_batch_start`` the name of the moment, None where nothing may be saved.

        Example:
            >>> checkpoint = ResumeCheckpoint(every_n_steps=100)
            >>> trainer = Trainer(accelerator="cpu", logger=False, accumulate_grad_batches=2)
            >>> [checkpoint.moment(trainer, batch_idx) for batch_idx in range(4)]
            ['epoch', None, 'step', None]
        """
        if batch_idx == 0:
            return "epoch"
        return None if self._validated or batch_idx % trainer.accumulate_grad_batches else "step"

    # in a training

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to begin where the processes do not see one and the same checkpoint: they would wait for each other.

        Raises:
            UserError: On all processes, naming who sees what.
        """
        if stage != "fit" or trainer.world_size == 1:
            return

        seen = [_describe_start(trainer)] * trainer.world_size
        torch.distributed.all_gather_object(seen, seen[0])
        if len({start for _, start in seen}) > 1:
            views = "; ".join(f"process {rank} on {host}: {start}" for rank, (host, start) in enumerate(seen))
            raise UserError(
                f"the processes would not begin at the same step ({views}); the folder mlruns must be the same on all "
                "nodes: give the command in a working folder on a shared disk; --resume never starts a new run"
            )

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._positions = _positions(trainer)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx > 0:
            self._positions = _positions(trainer)
            lightning_state.keep_running_means(trainer)
        if self._pending is not None:
            self._restore(trainer, pl_module)
            return

        moment = self.moment(trainer, batch_idx)
        due = batch_idx == 0 or trainer.global_step - self._saved[0] >= self._interval
        if moment and due and trainer.global_step > 0:
            self.save(trainer, moment)

    @override
    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._validated = lightning_state.is_validation_next(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return

        self._positions = _positions(trainer)
        self._validated = True  # also in a start that begins with it
        if self._pending is not None:
            lightning_state.resume_at_validation(trainer)
            self._restore(trainer, pl_module)
        elif not lightning_state.is_accumulating(trainer):
            self.save(trainer, "validation")

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._positions = _positions(trainer)
        self.save(trainer, "end")

    # to the checkpoint and back

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._saving is None:  # another callback's checkpoint, at a moment of its own
            return

        lightning_state.settle_loops(checkpoint["loops"]["fit_loop"], self._saving)
        states: list[Any] = [lightning_state.collect_process_state(trainer, pl_module)]
        if trainer.world_size > 1:
            states = states * trainer.world_size
            torch.distributed.all_gather_object(states, states[0])
        checkpoint[STATE] = {
            "moment": self._saving,
            "stopped": trainer.should_stop,  # by a callback, before the last epoch
            "positions": self._positions,
            "data": self.data,
            "processes": states,
        }

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get(STATE)
        if state is None:
            return

        same_processes = len(state["processes"]) == trainer.world_size
        self._pending = state["processes"][trainer.global_rank if same_processes else 0]
        self._saved = (checkpoint["global_step"], state["moment"])
        trainer.should_stop = state["stopped"]

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if self._pending is not None and self._saved[1] in ("epoch", "end"):
            lightning_state.resume_at_epoch(trainer)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is not None:  # there was nothing left to do
            self._restore(trainer, pl_module)

    def _restore(self, trainer: Trainer, module: LightningModule) -> None:
        assert self._pending is not None
        lightning_state.restore_process_state(trainer, module, self._pending)
        self._pending = None


def _describe_start(trainer: Trainer) -> tuple[str, str]:
    """Return this process's host, and what it starts from: the checkpoint's folder, name and size, or nothing."""
    if trainer.ckpt_path is None:
        return socket.gethostname(), "no checkpoint"
    path = Path(trainer.ckpt_path)
    return socket.gethostname(), f"{path.parent.name}/{path.name} of {path.stat().st_size} bytes"


def _positions(trainer: Trainer) -> list[int]:
    """Return how far the loggers are that can tell."""
    return [int(getattr(logger, "position")) for logger in trainer.loggers if hasattr(logger, "position")]  # noqa: B009
