"""Trials as processes of this machine, a few at a time, each with GPUs of its own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from types import FrameType
from typing import IO, Any

import typer

from callbacks.processes import own_environment
from covidmt.sweeps.folder import SweepFolder, TrialFolder, TrialOutcome
from covidmt.sweeps.runs import close_run
from covidmt.sweeps.snapshot import job_environment
from experiments.errors import UserError
from experiments.files import drop_terminals, terminals
from experiments.sweep_schema import Launcher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Running:
    trial: TrialFolder
    process: subprocess.Popen[bytes]
    gpus: list[str]
    log: IO[bytes]


def run_local(sweep: SweepFolder, trials: Iterable[str], launcher: Launcher, slots: int) -> None:
    """Run the trials and wait for them; the caller holds the sweep's lock ``launcher``.

    The first Ctrl-C or SIGTERM has the running ones write a checkpoint, for which they have
    ``launcher.signal_seconds``, and starts no others; the second ends them.

    Args:
        sweep: The sweep.
        trials: Ids.
        launcher: What each gets.
        slots: How many run at a time (`trials_at_a_time`).
    """
    waiting, running = [sweep.trial(trial) for trial in trials], list[_Running]()
    free = visible_gpus()
    interrupts = _Interrupts(launcher.signal_seconds)
    job = f"{socket.gethostname()}:{os.getpid()}"
    for trial in waiting:
        log_file = str(sweep.path / "logs" / f"{trial.id}.log")
        trial.save_record(replace(trial.record, job=job, launcher="local", log=log_file))

    with interrupts:
        while running or (waiting and not interrupts.count):
            while waiting and len(running) < slots and not interrupts.count:
                gpus = [free.pop(0) for _ in range(launcher.gpus_per_node)]
                running.append(_start(sweep, waiting.pop(0), gpus, slots))
            interrupts.pass_on(running)

            time.sleep(0.2)
            for entry in [entry for entry in running if entry.process.poll() is not None]:
                running.remove(entry)
                free += entry.gpus
                entry.log.close()
                _close(sweep, entry, stopping=interrupts.count > 0)
    if interrupts.count:
        typer.echo("stopped; the same command resumes")


def visible_gpus() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES, else all."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def trials_at_a_time(launcher: Launcher, trainer: dict[str, Any]) -> int:
    """Return as many as the launcher says or the GPUs suffice for.

    Args:
        launcher: The sweep's.
        trainer: A trial's section of that name.

    Raises:
        UserError: There are fewer GPUs than that needs, or all trials would meet on the first one.

    Example:
        >>> from covidmt.sweeps.local import trials_at_a_time
        >>> from experiments.sweep_schema import Launcher
        >>> trials_at_a_time(Launcher(processes=3), {"accelerator": "cpu"})
        3
    """
    gpus, each = len(visible_gpus()), launcher.gpus_per_node
    slots = launcher.processes or (max(1, gpus // each) if each else 1)
    if slots * each > gpus:
        raise UserError(
            f"launcher.gpus_per_node: {slots} trial(s) at a time with {each} GPU(s) each need {slots * each}, "
            f"this machine shows {gpus} (CUDA_VISIBLE_DEVICES); set launcher.processes or launcher.gpus_per_node"
        )
    if gpus and slots > 1 and not each and trainer.get("accelerator") != "cpu":
        raise UserError(
            f"launcher.gpus_per_node: is 0, so {slots} trials at a time would share this machine's first GPU; set it "
            "to what one trial gets, or trainer.accelerator=cpu"
        )
    return slots


def _start(sweep: SweepFolder, trial: TrialFolder, gpus: list[str], slots: int) -> _Running:
    record, submission = trial.record, sweep.submitted
    environment = own_environment(os.environ) | job_environment(Path(submission.code))
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    # PyTorch takes every core for each process unless it is told.
    processes = slots * submission.trainer["devices"]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

    path = Path(str(record.log))
    path.parent.mkdir(exist_ok=True)
    output = path.open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "covidmt.sweeps.job", str(sweep.path), trial.id],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the launcher
    )
    typer.echo(f"{trial.id}  {record.name}: started, log {path}")
    return _Running(trial, process, gpus, output)


def _close(sweep: SweepFolder, entry: _Running, *, stopping: bool) -> None:
    """Print the trial's end; where it died without a word, write its outcome too."""
    trial, status = entry.trial, entry.process.returncode
    outcome = trial.outcome
    with suppress(ProcessLookupError):  # its other processes would stay on the GPUs
        os.killpg(entry.process.pid, signal.SIGKILL)
    if outcome is None or outcome.state == "running":
        outcome = outcome or TrialOutcome("failed", os.uname().nodename, entry.process.pid)
        state = "preempted" if stopping else "failed"
        reason = describe_kill(-status) if status < 0 else f"ended with exit status {status}; see its log"
        outcome = outcome.ended("cancelled" if trial.is_cancelled else state, reason)
        trial.save_outcome(outcome)
        if outcome.state != "preempted":
            close_run(sweep.submitted.store, trial.record, outcome.state, reason)

    why = f": {outcome.reason}" if outcome.reason else ""
    typer.echo(f"{trial.id}  {trial.record.name}: {outcome.state} after {outcome.seconds:.0f} s{why}")


def describe_kill(number: int) -> str:
    """Return a signal that a process could not answer, in words.

    Example:
        >>> from covidmt.sweeps.local import describe_kill
        >>> describe_kill(9)
        'killed by SIGKILL: out of memory, or by hand'
    """
    name = signal.Signals(number).name
    return f"killed by {name}" + (": out of memory, or by hand" if number == signal.SIGKILL else "; see its log")


class _Interrupts:
    """Counts Ctrl-C, SIGTERM and SIGHUP instead of dying of them, and passes them on.

    Args:
        patience: Seconds after the first that count as the second.
    """

    def __init__(self, patience: float) -> None:
        self.count = 0
        self._patience = patience
        self._end = inf
        self._passed = 0
        self._terminals: list[int] = []
        self._old: dict[int, object] = {}

    def __enter__(self) -> None:
        self._terminals = terminals()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup does
                self._old[number] = signal.signal(number, self._count)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # ty: ignore[invalid-argument-type]

    def _count(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            drop_terminals(self._terminals)
        self.count += 1

    def pass_on(self, running: list[_Running]) -> None:
        """Pass the first on as SIGTERM to each trial's first process, which tells the others; the second as SIGKILL."""
        if time.monotonic() > self._end:
            self.count += 1
        while self._passed < min(self.count, 2):
            self._passed += 1
            self._end = time.monotonic() + self._patience if self._passed == 1 else inf
            for entry in running:
                if self._passed == 1:
                    typer.echo(f"{entry.trial.id}: writing a checkpoint")
                    entry.process.terminate()
                else:
                    os.killpg(entry.process.pid, signal.SIGKILL)
