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
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import FrameType
from typing import IO, Any

import typer

from covidmt.sweeps.folder import Outcome, SweepFolder
from covidmt.sweeps.snapshot import job_environment
from covidmt.sweeps.status import mark
from experiments.errors import UserError
from experiments.sweep_schema import Launcher

log = logging.getLogger(__name__)


@dataclass
class _Running:
    trial: str
    process: subprocess.Popen[bytes]
    gpus: list[str]
    log: IO[bytes]


def run_local(sweep: SweepFolder, trials: Iterable[str], launcher: Launcher, slots: int) -> None:
    """Runs the trials and waits for them; the caller holds the sweep's lock ``launcher``.

    The first Ctrl-C or SIGTERM has the running ones write a checkpoint, for which they have
    ``launcher.signal_seconds``, and starts no others; the second ends them.

    Args:
        sweep: Where they are.
        trials: Their ids.
        launcher: What each gets.
        slots: So many at a time (`trials_at_a_time`).
    """
    waiting, running = list(trials), list[_Running]()
    free = visible_gpus()
    interrupts = _Interrupts(launcher.signal_seconds)
    for trial in waiting:
        record = sweep.record(trial)
        record.job, record.launcher = f"{socket.gethostname()}:{os.getpid()}", "local"
        record.log = str(sweep.path / "logs" / f"{trial}.log")
        sweep.save_record(trial, record)
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
        typer.echo("stopped; the same command goes on")


def visible_gpus() -> list[str]:
    """The GPUs that may be used: those of CUDA_VISIBLE_DEVICES, else all."""
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
    """As many as the launcher says or the GPUs suffice for.

    Args:
        launcher: The sweep's.
        trainer: A trial's section of that name.

    Raises:
        UserError: There are fewer GPUs than that needs, or all trials would meet on the first one.
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


def _start(sweep: SweepFolder, trial: str, gpus: list[str], slots: int) -> _Running:
    record, settings = sweep.record(trial), sweep.settings
    environment = os.environ | job_environment(Path(settings["code"]))
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    # PyTorch takes every core for each process unless it is told.
    processes = slots * settings["trainer"]["devices"]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    path = Path(str(record.log))
    path.parent.mkdir(exist_ok=True)
    output = path.open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "covidmt.sweeps.job", str(sweep.path), trial],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the launcher
    )
    typer.echo(f"{trial}  {record.name}: started, log {path}")
    return _Running(trial, process, gpus, output)


def _close(sweep: SweepFolder, entry: _Running, *, stopping: bool) -> None:
    """The trial's end on the terminal; where it died without a word, its outcome too."""
    outcome = sweep.outcome(entry.trial)
    status = entry.process.returncode
    with suppress(ProcessLookupError):  # its other processes would stay on the GPUs
        os.killpg(entry.process.pid, signal.SIGKILL)
    if outcome is None or outcome.state == "running":
        outcome = outcome or Outcome("failed", os.uname().nodename, entry.process.pid)
        ended = "cancelled" if sweep.cancelled(entry.trial) else "preempted" if stopping else "failed"
        outcome.state, outcome.end = ended, time.time()
        outcome.reason = killed_by(-status) if status < 0 else f"ended with exit status {status}; see its log"
        sweep.save_outcome(entry.trial, outcome)
        if outcome.state != "preempted":
            mark(sweep, sweep.record(entry.trial), outcome.state, outcome.reason)
    seconds = (outcome.end or time.time()) - outcome.begin
    reason = f": {outcome.reason}" if outcome.reason else ""
    typer.echo(f"{entry.trial}  {sweep.record(entry.trial).name}: {outcome.state} after {seconds:.0f} s{reason}")


def killed_by(number: int) -> str:
    """A signal that a process could not answer, in words."""
    name = signal.Signals(number).name
    return f"killed by {name}" + (": out of memory, or by hand" if number == signal.SIGKILL else "; see its log")


class _Interrupts:
    """Counts Ctrl-C and SIGTERM instead of dying of them, and passes them on.

    Args:
        patience: Seconds after the first that count as the second.
    """

    def __init__(self, patience: float) -> None:
        self.count = 0
        self._patience = patience
        self._end = inf
        self._passed = 0
        self._old: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._note)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # ty: ignore[invalid-argument-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def pass_on(self, running: list[_Running]) -> None:
        """The first as SIGTERM to each trial's first process, which tells the others; the second ends everything."""
        if time.monotonic() > self._end:
            self.count += 1
        while self._passed < min(self.count, 2):
            self._passed += 1
            self._end = time.monotonic() + self._patience if self._passed == 1 else inf
            for entry in running:
                if self._passed == 1:
                    typer.echo(f"{entry.trial}: writing a checkpoint")
                    entry.process.terminate()
                else:
                    os.killpg(entry.process.pid, signal.SIGKILL)
