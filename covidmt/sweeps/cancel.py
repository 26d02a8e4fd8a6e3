"""``covidmt sweep cancel``: ends trials, by SLURM or by a signal to the process that runs them here."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

import typer

from covidmt.sweeps import slurm
from covidmt.sweeps.folder import ALIVE, SweepFolder, TrialFolder, TrialOutcome
from covidmt.sweeps.runs import close_parent, close_run
from covidmt.sweeps.status import find_trial, trial_statuses
from experiments.errors import UserError


def cancel_trials(name: str, trials: Sequence[str] = ()) -> None:
    """End trials; the same `covidmt sweep run` starts them again from their checkpoints.

    Args:
        name: The sweep's name or YAML file.
        trials: Beginnings of trial ids; none: all of the sweep's.

    Raises:
        UserError: No such sweep or trial, or it runs on another machine without SLURM.
    """
    folder = SweepFolder.named(name)
    chosen = {find_trial([folder], trial)[1] for trial in trials} or set(folder.submitted.trials)
    alive = {
        trial: status for trial, status in trial_statuses(folder).items() if trial in chosen and status.state in ALIVE
    }
    on_slurm = {trial: status for trial, status in alive.items() if status.record.launcher == "slurm"}
    local = [folder.trial(trial) for trial in alive if trial not in on_slurm]
    pids = _find_processes(folder, local, everything=not trials)

    # first the marks, so that a job knows why it is told to leave
    for trial in alive:
        folder.trial(trial).cancel()
    slurm.cancel_jobs([str(status.record.job) for status in on_slurm.values()])
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    # those that run say it themselves when they have written a checkpoint
    for trial, status in alive.items():
        if status.state == "waiting":
            outcome = folder.trial(trial).outcome or TrialOutcome("cancelled", "", 0)
            folder.trial(trial).save_outcome(outcome.ended("cancelled", "cancelled"))
            close_run(folder.submitted.store, status.record, "cancelled", "cancelled")
    typer.echo(f"{len(alive)} trial(s) cancelled")
    close_parent(folder, {status.state for status in trial_statuses(folder).values()})


def _find_processes(folder: SweepFolder, trials: Iterable[TrialFolder], *, everything: bool) -> set[int]:
    """Return whom to tell that trials of this machine are to end: the launcher, which passes it on, or each trial.

    The lock tells that a process is what it is noted as; process ids are used again.
    """
    here, pids = socket.gethostname(), set()
    for trial in trials:
        outcome = trial.outcome
        if everything and folder.has_launcher:
            node, _, pid = str(trial.record.job).rpartition(":")
        elif outcome and trial.is_locked:
            node, pid = outcome.node, outcome.pid
        elif outcome:
            continue
        else:
            raise UserError(f"trial {trial.id} has not begun: cancel the whole sweep, or wait")
        if node != here:
            raise UserError(f"trial {trial.id} runs on {node}: cancel it there")
        pids.add(int(pid))
    return pids
