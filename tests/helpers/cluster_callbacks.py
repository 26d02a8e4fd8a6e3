"""What trials of the tests do on purpose; named in ``trainer.callbacks``, imported by the jobs."""

import os
import signal
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer


class BreaksUntilMended(Callback):
    """While there is no file ``mended`` in the working folder, seed 1 fails and seed 2 is killed."""

    def on_train_batch_end(self, *args: object) -> None:
        seed = os.environ["PL_GLOBAL_SEED"]
        if seed == "1" and not Path("mended").exists():
            raise RuntimeError("broken on purpose")
        if seed == "2" and not Path("mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)


class IsToldEarly(Callback):
    """While the training is set up, before it listens: USR2, as ahead of a time limit."""

    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGUSR2)


class Holds(Callback):
    """In the middle of the first epoch: says so in a file ``held-<seed>``, and waits for a file ``go-<seed>``."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        seed = os.environ["PL_GLOBAL_SEED"]
        if trainer.current_epoch == 0 and batch_idx == 3:
            Path(f"held-{seed}").touch()
            while not Path(f"go-{seed}").exists():
                time.sleep(0.1)


class HoldsInValidation(Callback):
    """In the first validation: says so in a file ``held-<seed>``, and stays there until it is told to leave."""

    def on_validation_batch_start(self, trainer: Trainer, *args: object) -> None:
        held = Path(f"held-{os.environ['PL_GLOBAL_SEED']}")
        if not trainer.sanity_checking and not held.exists():
            held.touch()
            while True:
                time.sleep(0.1)
