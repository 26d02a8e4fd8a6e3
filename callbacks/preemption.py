"""A training that is told to go: the signal sets a flag, and all processes stop together before the next step."""

from __future__ import annotations

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
from typing_extensions import override

from callbacks.checkpoints import ResumeCheckpoint

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # of schedulers and people; of submitit, ahead of a time limit


class Preempted(Exception):
    """The training was asked to stop; raised by all processes, after the checkpoint was written.

    Where Lightning itself started the processes above the first (no SLURM, no torchrun), they must then end with status
    0: at any other it kills the first one within seconds.

    Attributes:
        checkpoint: Where to go on from.
        signum: The signal.
    """

    def __init__(self, checkpoint: Path, signum: int) -> None:
        super().__init__(f"{signal.Signals(signum).name}: the training is saved in {checkpoint}")
        self.checkpoint = checkpoint
        self.signum = signum


class Preemption(Callback):
    """Raises :class:`Preempted` at the first step, at which something can be saved, after a signal.

    A validation is finished first: its checkpoint was written before it, so that being killed costs no training step.
    After the last epoch the test is not begun; a test that has begun is finished.

    Takes the place of Lightning's SIGTERM handling, which communicates within the handler, synchronises the device in
    every step, and ends the run as failed; and of its SLURM requeue. Whoever submitted the job requeues it.

    With several processes the flags are joined on the CPU (gloo) while a step runs, and read before the next one:
    nothing waits for the GPU, and all processes stop at the same step, one later than the first that was told.

    Args:
        checkpoint: Saves; comes before this callback.
        signals: What to listen to.
    """

    def __init__(self, checkpoint: ResumeCheckpoint, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self.checkpoint = checkpoint
        self.signals = signals
        self.received = 0
        self._process = os.getpid()
        self._group: Any = None
        self._flag = torch.zeros(1, dtype=torch.int64)
        self._joining: Any = None

    @contextmanager
    def listening(self, trainer: Trainer) -> Generator[None]:
        """Within it the signals set the flag; Lightning installs no handler of its own."""
        trainer._signal_connector.register_signal_handlers = lambda: None
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
        if threading.current_thread() is not threading.main_thread():  # Python handles signals there alone
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in self.signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, signum: int, frame: Any) -> None:
        if os.getpid() != self._process:  # a data loader's worker inherits the handler, and is ended by SIGTERM
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received = signum

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        signum = self._agreed(trainer)
        moment = self.checkpoint.moment(trainer, batch_idx)
        if signum and moment:
            self.checkpoint.save(trainer, moment)
            raise Preempted(self.checkpoint.path, signum)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreed(trainer)
        if signum := self._agreed(trainer):
            raise Preempted(self.checkpoint.path, signum)

    def _agreed(self, trainer: Trainer) -> int:
        """A signal that any process had received when this was called the last time, or 0; the same for all."""
        if trainer.world_size == 1:
            return self.received
        if self._joining is not None:
            self._joining.wait()
        signum = int(self._flag)
        self._flag = torch.tensor([self.received])
        self._joining = dist.all_reduce(self._flag, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return signum
