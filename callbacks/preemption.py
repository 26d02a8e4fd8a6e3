"""Leaving a training when told to: all processes stop before the same step, or leave an evaluation at once."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from typing_extensions import override

from callbacks.lightning_state import child_killer, disable_signal_handling
from callbacks.processes import require_processes
from callbacks.resume import ResumeCheckpoint
from experiments.errors import UserError
from experiments.files import drop_terminals, terminals

log = logging.getLogger(__name__)

# of schedulers and people; of submitit, ahead of a time limit; of a terminal that is closed
SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)


class Preempted(BaseException):
    """The training was asked to stop, and what it had computed is saved; raised by all processes.

    Raised wherever the process is, like KeyboardInterrupt; so it is none of what ``except Exception`` catches.

    Where Lightning itself started the processes above the first (no SLURM, no torchrun), they must then end with status
    0: at any other it kills the first one within seconds.

    Attributes:
        checkpoint: Where to resume.
        signum: The signal.
    """

    def __init__(self, checkpoint: Path, signum: int) -> None:
        super().__init__(f"{signal.Signals(signum).name}: the training is saved in {checkpoint}")
        self.checkpoint = checkpoint
        self.signum = signum


class EarlySignal:
    """A signal's handler until a training listens, which then acts upon what came before.

    Attributes:
        signum: The signal that came; 0: none.

    Example:
        >>> early = EarlySignal()
        >>> early(signal.SIGUSR2, None)
        >>> early.signum == signal.SIGUSR2
        True
    """

    signum = 0

    def __call__(self, signum: int, frame: Any) -> None:
        """Remember the signal."""
        self.signum = signum


class Preemption(Callback):
    """Raise :class:`Preempted` after a signal: before the next training step, in a validation or test at once.

    Takes the place of Lightning's SIGTERM handling, which communicates within the handler, synchronises the device in
    every step, and ends the run as failed; and of its SLURM requeue. Whoever submitted the job requeues it.

    In a training step the processes agree: their flags are joined on the CPU (gloo) while a step runs, and read before
    the next one. Nothing waits for the GPU, and all processes stop at the same step, one later than the first that was
    told; there they write a checkpoint together.

    A validation or test can take longer than a scheduler waits, and its processes cannot agree in it, having unequally
    many batches. It needs no agreement: its checkpoint was written before it, and what it has logged is dropped when it
    is logged again (`covidmt.tracking.logger`), so that leaving is as safe as being killed. That takes that all
    processes are told: by SLURM, which signals every process of a job, or by the first one, which passes a signal on to
    those that Lightning started from it. Elsewhere (torchrun) one process may be alone with the signal: there the
    evaluation is finished first, a test with what follows it.

    Args:
        checkpoint: Saves; comes before this callback.
        signals: What to listen to.

    Attributes:
        signum: The signal that came; 0: none.
    """

    def __init__(self, checkpoint: ResumeCheckpoint, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self.checkpoint = checkpoint
        self.signals = signals
        self.signum = 0
        self._process = os.getpid()
        self._terminals: list[int] = []
        self._evaluating: Trainer | None = None  # one that may be left at once: what it had trained is saved

        # how the processes agree
        self._group: Any = None
        self._flag = torch.zeros(1, dtype=torch.int64)
        self._joining: Any = None

    @contextmanager
    def listening(self, trainer: Trainer) -> Generator[None]:
        """Listen to the signals inside; Lightning installs no handler of its own."""
        disable_signal_handling(trainer)
        if threading.current_thread() is not threading.main_thread():  # Python handles signals there alone
            yield
            return

        # what whoever started this has chosen to ignore, as nohup does, stays ignored
        heard = [number for number in self.signals if signal.getsignal(number) != signal.SIG_IGN]
        self._terminals = terminals()
        before = {number: signal.signal(number, self._handle) for number in heard}
        for early in before.values():
            if isinstance(early, EarlySignal) and early.signum:
                self.signum = early.signum

        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if not self.signum:
                raise
            # The cluster has signalled a loader's worker too, or another process has left already.
            log.warning("%s while leaving: %s", type(error).__name__, error)
            raise Preempted(self.checkpoint.path, self.signum) from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, signum: int, frame: Any) -> None:
        if os.getpid() != self._process:  # a data loader's worker inherits the handler, and is ended by SIGTERM
            if signum == signal.SIGHUP:  # its terminal is gone, but the process that it works for is still at work
                return
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        if signum == signal.SIGHUP:
            drop_terminals(self._terminals)
        self.signum = signum
        if self._evaluating is not None:
            self._leave(self._evaluating)

    def _leave(self, trainer: Trainer) -> None:
        self._evaluating = None  # once
        kill_children = child_killer(trainer)
        if kill_children is not None:
            kill_children(self.signum)
            atexit.register(kill_children, signal.SIGKILL)  # one that waits for this process on the GPU hears nothing
        raise Preempted(self.checkpoint.path, self.signum)

    def _enter_evaluation(self, trainer: Trainer) -> None:
        environment = getattr(trainer.strategy, "cluster_environment", None)
        all_told = isinstance(environment, SLURMEnvironment) or (
            isinstance(environment, LightningEnvironment) and trainer.num_nodes == 1
        )
        if (trainer.world_size == 1 or all_told) and self.checkpoint.is_current(trainer):
            self._evaluating = trainer
            if self.signum:
                self._leave(trainer)

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_processes(trainer, dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1)
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        signum = self._agree(trainer)
        moment = self.checkpoint.moment(trainer, batch_idx)
        if signum and moment:
            self.checkpoint.save(trainer, moment)
            raise Preempted(self.checkpoint.path, signum)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._enter_evaluation(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = None

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agree(trainer)
        signum = self._agree(trainer)
        if signum:
            raise Preempted(self.checkpoint.path, signum)
        self._enter_evaluation(trainer)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = None

    def _agree(self, trainer: Trainer) -> int:
        """Return a signal that had come to any process when this was called the last time, or 0; the same for all."""
        if trainer.world_size == 1:
            return self.signum

        if self._joining is not None:
            self._joining.wait()
        signum = int(self._flag)

        # the next answer, joined while a step runs
        self._flag = torch.tensor([self.signum])
        self._joining = dist.all_reduce(self._flag, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return signum
