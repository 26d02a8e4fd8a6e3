import multiprocessing
import os
import signal
import time

from lightning.pytorch import Trainer

from callbacks.preemption import Preemption
from callbacks.resume import ResumeCheckpoint

FORK = multiprocessing.get_context("fork")


def _work(ready) -> None:
    ready.set()
    time.sleep(60)


def test_a_forked_worker_still_ends_at_sigterm():
    """As a data loader's workers: one that only took note would be waited for for ever at the command's end."""
    preemption, ready = Preemption(ResumeCheckpoint(1)), FORK.Event()
    with preemption.listening(Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")):
        worker = FORK.Process(target=_work, args=(ready,))
        worker.start()
        assert ready.wait(30)
        worker.terminate()
        worker.join(30)
        os.kill(os.getpid(), signal.SIGTERM)
    worker.kill()
    assert worker.exitcode == -signal.SIGTERM
    assert preemption.signum == signal.SIGTERM
