import multiprocessing
import os
import pty
import signal
import time

import pytest
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


def quiet_trainer() -> Trainer:
    return Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")


def _listen_on_terminal(terminal: int, ready, heard) -> None:
    for descriptor in (0, 1, 2):
        os.dup2(terminal, descriptor)
    preemption = Preemption(ResumeCheckpoint(1))
    with preemption.listening(quiet_trainer()):
        ready.set()
        while not preemption.signum:
            time.sleep(0.05)
        print("a step's progress")  # an OSError, were it still for the terminal
        os.write(2, b"and a library's")
        heard.put(preemption.signum)


def test_a_closed_terminal_has_the_training_leave_and_breaks_no_print():
    mine, terminal = pty.openpty()
    ready, heard = FORK.Event(), FORK.Queue()
    process = FORK.Process(target=_listen_on_terminal, args=(terminal, ready, heard))
    process.start()
    assert ready.wait(120)
    os.close(terminal)
    os.close(mine)
    os.kill(int(process.pid or 0), signal.SIGHUP)
    assert heard.get(timeout=120) == signal.SIGHUP
    process.join(30)
    assert process.exitcode == 0


def test_a_forked_worker_outlives_its_terminal():
    """The kernel tells all processes of a terminal; the training itself ends its workers, once it is saved."""
    preemption, ready = Preemption(ResumeCheckpoint(1)), FORK.Event()
    with preemption.listening(quiet_trainer()):
        worker = FORK.Process(target=_work, args=(ready,))
        worker.start()
        assert ready.wait(30)
        os.kill(int(worker.pid or 0), signal.SIGHUP)
        worker.join(0.5)
        assert worker.is_alive()
        worker.terminate()
        worker.join(30)
    assert worker.exitcode == -signal.SIGTERM


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTERM])
def test_what_the_starter_ignores_stays_ignored(signum: signal.Signals):
    """As `nohup` has it."""
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        preemption = Preemption(ResumeCheckpoint(1))
        with preemption.listening(quiet_trainer()):
            os.kill(os.getpid(), signum)
        assert preemption.signum == 0
        assert signal.getsignal(signum) == signal.SIG_IGN
    finally:
        signal.signal(signum, before)
