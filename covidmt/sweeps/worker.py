"""``covidmt sweep worker``: take the next trial that nobody has, train it, go on until there is none.

Any number of workers may run, on any machines that share the sweep's folder: jobs of PBS, LSF or Kubernetes, or a
second workstation. A worker holds a trial's claim while its job lives, the job holds the trial's lock while it trains;
both are locks of the kernel, released when their holder dies: another worker resumes what a killed one has left.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from filelock import Timeout

from covidmt.sweeps.folder import ALIVE, SweepFolder, TrialFolder
from covidmt.sweeps.local import run_local, visible_gpus
from covidmt.sweeps.run import prepare
from covidmt.sweeps.runs import close_parent
from covidmt.sweeps.status import GONE, TrialStatus, trial_statuses
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.trials import load_sweep

_PREPARING = 600  # seconds that a worker waits for another one to prepare the sweep


def work(sweep: str, overrides: Sequence[str] = (), *, failed: bool = False) -> None:
    """Train a sweep's trials one after the other, as long as there is one that is not finished and nobody has.

    Args:
        sweep: The sweep's YAML file, its name, or its folder below ``mlruns/sweeps``. Of a file that was not submitted
            yet the first worker makes runs and snapshot, as ``covidmt sweep run`` does.
        overrides: See `experiments.trials.load_sweep`; for the first worker alone.
        failed: Take trials that failed too, each once.

    Raises:
        UserError: What a person can put right.
    """
    folder = _find_folder(sweep, overrides)
    launcher, gpus = folder.submitted.launcher, len(visible_gpus())
    if launcher.gpus_per_node > gpus:
        raise UserError(f"launcher.gpus_per_node: a trial gets {launcher.gpus_per_node}, this machine shows {gpus}")

    done: set[str] = set()
    for trial in iter(lambda: _next_trial(folder, done, failed), None):
        done.add(trial.id)
        with _claimed(trial) as claimed:
            if not claimed or not _is_open(folder, trial, failed):  # another worker was faster
                continue
            trial.forget_outcome()
            run_local(folder, [trial.id], launcher, 1)
        outcome = trial.outcome
        if outcome and outcome.state == "preempted":  # told to leave: so is the worker
            break

    # what is left to others
    states = {trial: status.state for trial, status in trial_statuses(folder).items()}
    close_parent(folder, set(states.values()))
    counts = [f"{list(states.values()).count(state)} {state}" for state in dict.fromkeys(states.values())]
    typer.echo(f"sweep {folder.name!r}: {', '.join(counts)}")


def _find_folder(sweep: str, overrides: Sequence[str]) -> SweepFolder:
    """Return the sweep's folder, prepared."""
    path = Path(sweep)
    if (path / "sweep.json").is_file():
        return SweepFolder(path)
    if path.suffix not in (".yaml", ".yml"):
        return SweepFolder.named(sweep)

    loaded, trials = load_sweep(path, overrides)
    folder = SweepFolder(SweepFolder.root() / loaded.name)
    try:
        with folder.lock("submit").acquire(timeout=_PREPARING):
            if folder.submission is None:
                with Store.of(trials[0].experiment.tracking).explaining():
                    prepare(folder, loaded, trials)
    except Timeout as error:
        raise UserError(f"sweep {loaded.name!r} is being prepared by another process since {_PREPARING} s") from error
    return folder


def _next_trial(folder: SweepFolder, done: set[str], failed: bool) -> TrialFolder | None:
    """Return the first trial that may be taken and was not tried by this worker."""
    statuses = trial_statuses(folder, note=False)
    trials = (folder.trial(trial) for trial in statuses if trial not in done)
    return next((trial for trial in trials if _may_take(statuses[trial.id], failed)), None)


def _is_open(folder: SweepFolder, trial: TrialFolder, failed: bool) -> bool:
    """Return whether a trial may be taken by the one who has its claim."""
    status = trial_statuses(folder, note=False)[trial.id]
    waits_for_us = status.state == "waiting" and status.record.launcher == "local" and not folder.has_launcher
    return not trial.is_locked and (waits_for_us or _may_take(status, failed))


def _may_take(status: TrialStatus, failed: bool) -> bool:
    if status.state in ("finished", "cancelled"):
        return False
    if status.state == "failed":
        return failed or status.reason.startswith(GONE)
    return status.state not in ALIVE


@contextmanager
def _claimed(trial: TrialFolder) -> Generator[bool]:
    """Hold a trial's claim inside; yields whether it could be had."""
    claim = trial.claim()
    try:
        claim.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        claim.release()
