"""``covidmt sweep run``: MLflow runs made once, everything snapshotted, jobs started for what is not finished.

A trial is its resolved configuration (`experiments.trials.trial_id`): the same command starts what is missing, failed
or stopped, on the same runs and from their checkpoints, and leaves alone what runs or is finished. What the runs hold
is said in `covidmt.sweeps.runs`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import typer
from filelock import Timeout

from covidmt.sweeps.folder import ALIVE, Submission, SweepFolder, TrialFolder
from covidmt.sweeps.local import run_local, trials_at_a_time
from covidmt.sweeps.runs import children, close_parent, log_parent, make_trial_run, open_parent
from covidmt.sweeps.show import status_table
from covidmt.sweeps.slurm import submit
from covidmt.sweeps.snapshot import snapshot
from covidmt.sweeps.status import trial_statuses
from covidmt.tracking.store import Store
from experiments.errors import UserError, nearest
from experiments.names import Terminal
from experiments.printing.tables import WholeTable
from experiments.sweep_schema import LauncherKind, Sweep
from experiments.trials import Trial, changed_settings, load_sweep

SETTLED = (*ALIVE, "finished")  # states of trials that are not started


def run_sweep(path: str | Path, overrides: Sequence[str] = (), *, resume: str = "auto", dry_run: bool = False) -> None:
    """Start the trials of a sweep that are not finished and do not run.

    Args:
        path: Sweep YAML.
        overrides: See `experiments.trials.load_sweep`.
        resume: ``auto``: resume the newest start of the sweep of that name; ``never``: start all of it afresh, in new
            runs, and put the old one's folder aside; the id of a parent run: resume that start, and put a newer one's
            folder aside.
        dry_run: Print the trials and what would be done, and stop.

    Raises:
        UserError: What a person can put right; after a local sweep also that trials failed.
    """
    sweep, trials = load_sweep(path, overrides)
    folder = SweepFolder(SweepFolder.root() / sweep.name)
    local = sweep.launcher.kind is LauncherKind.local
    if dry_run:
        _print_plan(_find_start(folder, resume), sweep, trials)
        return

    slots = trials_at_a_time(sweep.launcher, trials[0].experiment.trainer) if local else 0
    with ExitStack() as running:
        todo = _submit(folder, sweep, trials, resume, running)
        if todo and local:
            run_local(folder, todo, sweep.launcher, slots)

    statuses = trial_statuses(folder)
    Terminal(markup=False).print(status_table(folder, statuses))
    close_parent(folder, {status.state for status in statuses.values()})
    failed = [trial for trial in todo if statuses[trial].state == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(todo)} trial(s) failed, see above; the same command starts them again")


def _submit(folder: SweepFolder, sweep: Sweep, trials: list[Trial], resume: str, running: ExitStack) -> list[str]:
    """Prepare the sweep, alone on this folder; submit it to SLURM, or take the launcher's lock for as long as it runs.

    Returns:
        Ids of the trials to start.
    """
    try:
        submitting = folder.lock("submit").acquire(timeout=10)
    except Timeout as error:
        raise UserError(f"sweep {sweep.name!r} is being submitted by another process") from error

    with submitting:
        if folder.has_launcher:
            raise UserError(
                f"sweep {sweep.name!r} is run by another process: see `covidmt sweep status {sweep.name}`, wait "
                f"for it, or end it with `covidmt sweep cancel {sweep.name}`"
            )
        _choose_start(folder, resume)
        with Store.of(trials[0].experiment.tracking).explaining():
            todo = prepare(folder, sweep, trials)

        if not todo:
            typer.echo(f"sweep {sweep.name!r}: nothing to start")
            return todo
        try:
            if sweep.launcher.kind is LauncherKind.local:
                _require_data([trial for trial in trials if trial.id in todo])
                running.enter_context(folder.lock("launcher").acquire(timeout=10))
            else:
                submit(folder, todo, sweep.launcher)
                typer.echo(f"{len(todo)} trial(s) submitted; covidmt sweep status {sweep.name} --watch")
        except UserError:
            close_parent(folder, {status.state for status in trial_statuses(folder).values()})
            raise
    return todo


def _require_data(trials: Iterable[Trial]) -> None:
    """Refuse data sets that are not on this machine, before one trial after the other fails for it."""
    from datamodules.sources.files import source_root  # pandas, which a dry run does without

    for trial in trials:
        data = trial.experiment.data
        for name in {task.source for task in trial.experiment.active} | {data.pairs.val_sources[0]}:
            if data.sources[name].reader:  # a data set of the user's own may need no folder
                source_root(data.sources[name], name)


def prepare(folder: SweepFolder, sweep: Sweep, trials: list[Trial]) -> list[str]:
    """Make the store, the parent run, the trials' runs, the snapshot and the resolved YAMLs.

    Args:
        folder: The sweep's folder, whose lock ``submit`` the caller holds.
        sweep: What is submitted.
        trials: Its trials.

    Returns:
        Ids of the trials to start.

    Raises:
        UserError: The sweep was begun in another store, or what `Store.prepare` and a search refuse.
    """
    store, old = Store.of(trials[0].experiment.tracking), folder.submission
    if old and old.uri != store.uri:
        raise UserError(
            f"sweep {sweep.name!r} was begun in {old.store}: set tracking.uri to it, "
            "give the sweep another name, or start afresh with --resume never"
        )
    study = _open_study(sweep, old, store)
    store.prepare()
    experiment_id = store.open_experiment(trials[0].experiment.tracking.experiment)

    # trials that run or are finished stay in the tables, also those of an earlier version of the sweep file
    states = {trial: status.state for trial, status in trial_statuses(folder).items()} if old else {}
    settled = [trial for trial, state in states.items() if state in SETTLED]
    submission = Submission(
        uri=store.uri,
        experiment_id=experiment_id,
        run_id=open_parent(store, sweep.name, old.run_id if old else None, experiment_id),
        cwd=os.getcwd(),
        code=str(snapshot(folder.path / "code")),
        trials=[*dict.fromkeys([trial.id for trial in trials] + settled)],
        launcher=sweep.launcher,
        search=sweep.search,
        trainer={name: trials[0].experiment.trainer[name] for name in ("num_nodes", "devices")},
        **study,
    )

    # If the submission is broken off from here on, the next one finds each run that has been made.
    folder.save_submission(replace(submission, trials=old.trials if old else []))
    # live ones are left alone, even where their runs have been deleted
    _make_records(folder, sweep, submission, [trial for trial in trials if states.get(trial.id) not in ALIVE])
    folder.save_submission(submission)

    statuses = trial_statuses(folder)
    todo = [trial for trial in trials if statuses[trial.id].state not in SETTLED]
    tracking = replace(trials[0].experiment.tracking, uri=store.uri)
    for trial in todo:
        _experiment_folder(folder, sweep, trial).save_experiment(replace(trial.experiment, tracking=tracking))
        folder.trial(trial.id).forget_outcome()
    log_parent(folder, sweep, submission, [trial.id for trial in todo])
    counts = Counter(status.state for status in statuses.values())
    typer.echo(f"sweep {sweep.name!r}: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    return [trial.id for trial in todo]


def _open_study(sweep: Sweep, old: Submission | None, store: Store) -> dict[str, str]:
    """Return the names of Optuna's study and storage; empty where the sweep is no search."""
    if not sweep.search:
        return {}
    from covidmt.sweeps.search import open_study

    name = old.study if old and old.study else f"{sweep.name}-{secrets.token_hex(4)}"
    return open_study(sweep.search, name, store)


def _make_records(folder: SweepFolder, sweep: Sweep, submission: Submission, trials: list[Trial]) -> None:
    """Make a run and a record for each trial that has none, or whose defaults have changed since."""
    runs = {run.info.run_id for run in children(submission)}
    changed: dict[str, None] = {}
    for trial in trials:
        submitted = _has_run(folder.trial(trial.id), runs)
        keys = _changed_defaults(folder, sweep, trial) if submitted else []
        changed |= dict.fromkeys(keys)
        if not submitted or keys:
            record = make_trial_run(submission, sweep.name, trial)
            folder.trial(trial.id).forget()
            folder.trial(trial.id).save_record(record)
    if changed:
        typer.echo(f"the default of {', '.join(changed)} has changed: trials that had the old one start anew")


def _has_run(trial: TrialFolder, runs: set[str]) -> bool:
    """Return whether the trial was submitted before and its run has not been deleted."""
    try:
        return trial.record.run_id in runs
    except FileNotFoundError:
        return False


def _experiment_folder(folder: SweepFolder, sweep: Sweep, trial: Trial) -> TrialFolder:
    """Return where the submitted experiment lies: in a search one for all trials."""
    return folder.base if sweep.search else folder.trial(trial.id)


def _find_start(folder: SweepFolder, resume: str) -> SweepFolder | None:
    """Return what ``--resume`` means: the sweep's folder as it is, or one that was put aside; None: nothing."""
    if resume in ("auto", "never"):
        return folder if folder.submission and resume == "auto" else None
    starts = {start.submitted.run_id: start for start in [folder, *folder.aside] if start.submission}
    if resume not in starts:
        raise UserError(
            f"--resume {resume}: takes auto, never or the parent run of a start of sweep {folder.name!r} in this "
            f"folder{nearest(resume, list(starts))}; there are {', '.join(starts) or 'none'}"
        )
    return starts[resume]


def _choose_start(folder: SweepFolder, resume: str) -> None:
    """Move that start's files to the sweep's folder, and any other's aside."""
    start = _find_start(folder, resume)
    if start is not None and start.path == folder.path:
        return

    if folder.submission:
        if any(status.state in ALIVE for status in trial_statuses(folder).values()):
            raise UserError(f"--resume {resume}: sweep {folder.name!r} has waiting or running trials: cancel them")
        old = folder.path.with_name(f".{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        folder.move(old)
        typer.echo(f"the older sweep's files are in {old}; its runs stay in MLflow")
    if start is not None:
        start.move(folder.path)


def _changed_defaults(folder: SweepFolder, sweep: Sweep, trial: Trial) -> list[str]:
    """Return the settings at defaults that have changed since the trial was submitted: they change its result."""
    submitted = _experiment_folder(folder, sweep, trial)
    return changed_settings(submitted.experiment_values(), trial.experiment) if submitted.has_experiment else []


def _print_plan(folder: SweepFolder | None, sweep: Sweep, trials: list[Trial]) -> None:
    statuses = trial_statuses(folder, note=False) if folder else {}
    grid = WholeTable(box=None, pad_edge=False)
    for heading in ("trial", "", "state", "processes"):
        grid.add_column(heading, overflow="ellipsis" if heading else "fold")
    start = 0
    for trial in trials:
        trainer = trial.experiment.trainer
        state = statuses[trial.id].state if trial.id in statuses else "missing"
        if folder and state == "finished" and _changed_defaults(folder, sweep, trial):
            state = "missing"
        start += state not in SETTLED
        grid.add_row(trial.id, trial.name, state, f"{trainer['num_nodes']} x {trainer['devices']}")
    Terminal(markup=False).print(grid)
    typer.echo(f"{len(trials)} trial(s), {start} to start with launcher {sweep.launcher.kind.value}")
