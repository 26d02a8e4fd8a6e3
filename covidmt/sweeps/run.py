"""Submits a sweep: MLflow runs made once, everything snapshotted, jobs started for what is not finished.

The runs, which `covidmt report` reads:

- the parent run has the tags ``covidmt.kind=sweep`` and ``sweep=<sweep>``, and the artifacts ``sweep.yaml``,
  ``trials/<trial>.yaml`` and, where files differed from the commit, ``code.diff``;
- each trial is a child (``mlflow.parentRunId``) with the tags ``sweep=<sweep>``, ``trial=<trial id>``,
  ``trial_label`` (what varies, without the seed: ``resnet50, 3 tasks``), ``trial_overrides`` (JSON of what the sweep
  sets in it, the seed included), and what `covidmt.training.train` logs; ``failure`` is why it did not finish, if it
  did not.

A trial is its resolved configuration (`experiments.trials.trial_id`): the same command starts what is missing, failed
or stopped, on the same runs and from their checkpoints, and leaves alone what runs or is finished.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from filelock import Timeout
from rich.console import Console
from rich.table import Table

from covidmt.sweeps.folder import Outcome, Record, SweepFolder
from covidmt.sweeps.local import run_local, trials_at_a_time
from covidmt.sweeps.slurm import cancel as cancel_jobs
from covidmt.sweeps.slurm import submit
from covidmt.sweeps.snapshot import code_diff, snapshot
from covidmt.sweeps.status import ALIVE, children, close_parent, find_trial, mark, statuses, table
from covidmt.tracking.store import Store, author, without_password
from experiments.errors import UserError, nearest
from experiments.load import to_dict, to_yaml
from experiments.sweep_schema import LauncherKind, Sweep
from experiments.trials import Trial, changed_settings, load_sweep

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def run(path: str | Path, overrides: Sequence[str] = (), *, resume: str = "auto", dry_run: bool = False) -> None:
    """Starts the trials of a sweep that are not finished and do not run.

    Args:
        path: Sweep YAML.
        overrides: See `experiments.trials.load_sweep`.
        resume: ``auto``: goes on with the newest start of the sweep of that name; ``never``: starts all of it afresh,
            in new runs, and puts the old one's folder aside; the id of a parent run: goes on with that start, and puts
            a newer one's folder aside.
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
        try:
            submitting = folder.lock("submit").acquire(timeout=10)
        except Timeout as error:
            raise UserError(f"sweep {sweep.name!r} is being submitted by another process") from error
        with submitting:
            if folder.locked("launcher"):
                raise UserError(
                    f"sweep {sweep.name!r} is run by another process: see `covidmt sweep status {sweep.name}`, wait "
                    f"for it, or end it with `covidmt sweep cancel {sweep.name}`"
                )
            _choose_start(folder, resume)
            with Store.of(trials[0].experiment.tracking).explaining():
                todo = _prepare(folder, sweep, trials)
            if not todo:
                typer.echo(f"sweep {sweep.name!r}: nothing to start")
            elif local:
                running.enter_context(folder.lock("launcher").acquire(timeout=10))
            else:
                try:
                    submit(folder, todo, sweep.launcher)
                except UserError:
                    close_parent(folder, statuses(folder))
                    raise
                typer.echo(f"{len(todo)} trial(s) submitted; covidmt sweep status {sweep.name} --watch")
        if todo and local:
            run_local(folder, todo, sweep.launcher, slots)
    found = statuses(folder)
    Console(markup=False).print(table(folder, found))
    close_parent(folder, found)
    failed = [trial for trial in todo if found[trial].state == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(todo)} trial(s) failed, see above; the same command starts them again")


def cancel(name: str, trials: Sequence[str] = ()) -> None:
    """Ends trials, all of the sweep's or those named; the same `run` starts them again from their checkpoints.

    Raises:
        UserError: No such sweep or trial, or it runs on another machine without SLURM.
    """
    folder = SweepFolder.named(name)
    chosen = {find_trial([folder], trial)[1] for trial in trials} or set(folder.settings["trials"])
    alive = {t: s for t, s in statuses(folder).items() if t in chosen and s.state in ALIVE}
    slurm = {trial: status for trial, status in alive.items() if status.record.launcher == "slurm"}
    pids = _local_pids(folder, alive.keys() - slurm.keys(), everything=not trials)
    for trial in alive:
        folder.cancel(trial)
    cancel_jobs([str(status.record.job) for status in slurm.values()])
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for trial, status in alive.items():
        if status.state == "waiting":  # those that run say it themselves when they have written a checkpoint
            outcome = folder.outcome(trial) or Outcome("cancelled", "", 0)
            outcome.state, outcome.end, outcome.reason = "cancelled", time.time(), "cancelled"
            folder.save_outcome(trial, outcome)
            mark(folder, status.record, "cancelled", "cancelled")
    typer.echo(f"{len(alive)} trial(s) cancelled")
    close_parent(folder, statuses(folder))


def _local_pids(folder: SweepFolder, trials: Iterable[str], *, everything: bool) -> set[int]:
    """Whom to tell that trials of this machine are to end: the launcher, which passes it on, or each trial.

    The lock tells that a process is what it is noted as; process ids are used again.
    """
    here, pids = socket.gethostname(), set()
    for trial in trials:
        outcome = folder.outcome(trial)
        if everything and folder.locked("launcher"):
            node, _, pid = str(folder.record(trial).job).rpartition(":")
        elif outcome and folder.locked(trial):
            node, pid = outcome.node, outcome.pid
        elif outcome:
            continue
        else:
            raise UserError(f"trial {trial} has not begun: cancel the whole sweep, or wait")
        if node != here:
            raise UserError(f"trial {trial} runs on {node}: cancel it there")
        pids.add(int(pid))
    return pids


def _prepare(folder: SweepFolder, sweep: Sweep, trials: list[Trial]) -> list[str]:
    """Store, parent run, child runs, snapshot, resolved YAMLs; returns the trials to start."""
    store = Store.of(trials[0].experiment.tracking)
    uri = store.uri
    tracking = replace(trials[0].experiment.tracking, uri=uri)
    old = folder.settings
    if old and old["uri"] != uri:
        raise UserError(
            f"sweep {sweep.name!r} was begun in {Store(old['uri'])}: set tracking.uri to it, "
            "give the sweep another name, or start afresh with --resume never"
        )
    study = {}
    if sweep.search:
        from covidmt.sweeps.search import open_study

        study = open_study(sweep.search, old.get("study") or f"{sweep.name}-{secrets.token_hex(4)}", uri)
    store.prepare()
    client = store.client
    experiment_id = store.open_experiment(tracking.experiment)
    states = {trial: status.state for trial, status in statuses(folder).items()} if old else {}
    # Those of an earlier version of the sweep file stay in the tables.
    kept = [trial for trial, state in states.items() if state in (*ALIVE, "finished")]
    parent = _parent(client, sweep, old, experiment_id)
    settings = {
        "uri": uri,
        "experiment_id": experiment_id,
        "run_id": parent,
        "cwd": os.getcwd(),
        "code": str(snapshot(folder.path / "code")),
        # Those of an earlier version of the sweep file that run or are finished stay in the tables.
        "trials": [*dict.fromkeys([trial.id for trial in trials] + kept)],
        "launcher": to_dict(sweep.launcher),
        "search": to_dict(sweep.search) if sweep.search else None,
        "trainer": {name: trials[0].experiment.trainer[name] for name in ("num_nodes", "devices")},
        **study,
    }
    # Broken off from here on, this is gone on with: `_record` finds each run that has been made.
    folder.save_settings({**settings, "trials": old.get("trials", [])})
    runs = {run.info.run_id for run in children(settings)}
    changed: dict[str, None] = {}
    for trial in trials:
        if states.get(trial.id) in ALIVE:  # even where its run has been deleted
            continue
        record = _record(folder, trial, runs)
        if record is not None and (keys := _changed_defaults(folder, sweep, trial)):
            record, changed = None, changed | dict.fromkeys(keys)
        if record is None:
            record = _make_run(client, sweep, settings, trial)
            folder.forget(trial.id)
            folder.save_record(trial.id, record)
    if changed:
        typer.echo(f"the default of {', '.join(changed)} is another one now: trials that had the old one start anew")
    folder.save_settings(settings)
    found = statuses(folder)
    todo = [trial.id for trial in trials if found[trial.id].state not in (*ALIVE, "finished")]
    for trial in trials:
        if trial.id in todo:
            experiment = replace(trial.experiment, tracking=tracking)
            folder.save_experiment("base" if sweep.search else trial.id, experiment)
            folder.forget_outcome(trial.id)
    _log_parent(client, folder, sweep, settings, todo)
    counts = Counter(status.state for status in found.values())
    typer.echo(f"sweep {sweep.name!r}: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    return todo


def _parent(client: MlflowClient, sweep: Sweep, old: dict[str, Any], experiment_id: str) -> str:
    """The parent run: the one that is there, or a new one."""
    from mlflow.exceptions import MlflowException

    if old:
        try:
            run = client.get_run(old["run_id"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # else the store was deleted
                raise
        else:
            if run.info.lifecycle_stage == "active":
                client.update_run(run.info.run_id, status="RUNNING")
                return run.info.run_id
    tags = {**author(), "covidmt.kind": "sweep", "sweep": sweep.name}
    return client.create_run(experiment_id, run_name=sweep.name, tags=tags).info.run_id


def _record(folder: SweepFolder, trial: Trial, runs: set[str]) -> Record | None:
    """What was submitted of a trial before; None: nothing, or its run has been deleted."""
    try:
        record = folder.record(trial.id)
    except FileNotFoundError:
        return None
    return record if record.run_id in runs else None


def _make_run(client: MlflowClient, sweep: Sweep, settings: dict[str, Any], trial: Trial) -> Record:
    tags = {
        **author(),
        **trial.experiment.tracking.tags,
        "mlflow.parentRunId": settings["run_id"],
        "sweep": sweep.name,
        "trial": trial.id,
        "trial_label": trial.label,
        "trial_overrides": json.dumps(trial.overrides),
    }
    run = client.create_run(settings["experiment_id"], run_name=trial.name, tags=tags)
    client.update_run(run.info.run_id, status="SCHEDULED")
    return Record(trial.name, trial.label, trial.overrides, run.info.run_id)


def _log_parent(
    client: MlflowClient, folder: SweepFolder, sweep: Sweep, settings: dict[str, Any], todo: list[str]
) -> None:
    """What was submitted, as artifacts: the sweep, the trials, how the code differs from the commit."""
    parent = settings["run_id"]
    (folder.path / "sweep.yaml").write_text(to_yaml(sweep))
    client.log_text(parent, without_password(to_yaml(sweep)), "sweep.yaml")
    for trial in todo:
        if folder.has_experiment(trial):
            client.log_text(parent, without_password(to_yaml(folder.experiment(trial))), f"trials/{trial}.yaml")
    git = json.loads((Path(settings["code"]) / "git.json").read_text())
    for key, value in {**git, "code_snapshot": Path(settings["code"]).name}.items():
        client.set_tag(parent, key, value)
    if diff := code_diff():
        client.log_text(parent, diff, "code.diff")


def _find_start(folder: SweepFolder, resume: str) -> SweepFolder | None:
    """What ``--resume`` goes on with: the sweep's folder as it is, or one that was put aside; None: nothing."""
    if resume in ("auto", "never"):
        return folder if folder.settings and resume == "auto" else None
    starts = {start.settings["run_id"]: start for start in [folder, *folder.aside] if start.settings}
    if resume not in starts:
        raise UserError(
            f"--resume {resume}: takes auto, never or the parent run of a start of sweep {folder.name!r} in this "
            f"folder{nearest(resume, list(starts))}; there are {', '.join(starts) or 'none'}"
        )
    return starts[resume]


def _choose_start(folder: SweepFolder, resume: str) -> None:
    """Has that start's files in the sweep's folder, any other's beside it."""
    start = _find_start(folder, resume)
    if start is not None and start.path == folder.path:
        return
    if folder.settings:
        if any(status.state in ALIVE for status in statuses(folder).values()):
            raise UserError(f"--resume {resume}: trials of sweep {folder.name!r} wait or run: cancel them first")
        old = folder.path.with_name(f".{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        folder.move(old)
        typer.echo(f"the older sweep's files are in {old}; its runs stay in MLflow")
    if start is not None:
        start.move(folder.path)


def _changed_defaults(folder: SweepFolder, sweep: Sweep, trial: Trial) -> list[str]:
    """Settings at defaults that covidmt has changed since the trial was submitted: its result would be another one."""
    name = "base" if sweep.search else trial.id
    return changed_settings(folder.experiment_values(name), trial.experiment) if folder.has_experiment(name) else []


def _print_plan(folder: SweepFolder | None, sweep: Sweep, trials: list[Trial]) -> None:
    known = statuses(folder, note=False) if folder else {}
    grid = Table("trial", "", "state", "processes", box=None, pad_edge=False)
    start = 0
    for trial in trials:
        trainer = trial.experiment.trainer
        state = known[trial.id].state if trial.id in known else "missing"
        if folder and state == "finished" and _changed_defaults(folder, sweep, trial):
            state = "missing"
        start += state not in (*ALIVE, "finished")
        grid.add_row(trial.id, trial.name, state, f"{trainer['num_nodes']} x {trainer['devices']}")
    Console(markup=False).print(grid)
    typer.echo(f"{len(trials)} trial(s), {start} to start with launcher {sweep.launcher.kind.value}")
