"""How the trials of a sweep are: what their jobs say, what SLURM says, what their runs have logged."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from covidmt.sweeps import slurm as sweep_slurm
from covidmt.sweeps.folder import ENDINGS, LOST, Outcome, Record, SweepFolder, parent_status
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.sender import sync_run
from covidmt.tracking.store import Store
from experiments.errors import UserError, nearest

log = logging.getLogger(__name__)

ALIVE = ("waiting", "running")  # states that another `run` leaves alone
SETTLES = 120  # seconds that network file systems may show old files, with room
COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "cancelled": "yellow", "stopped": "yellow"}


@dataclass
class Status:
    """How a trial is.

    Attributes:
        state: ``missing`` (never started), ``waiting``, ``running``, ``finished``, ``failed``, ``stopped`` (it wrote a
            checkpoint and left) or ``cancelled``.
        record: What was submitted.
        node: Where it runs or ran last.
        seconds: Of its last start, until now or its end.
        reason: Why it waits or ended.
        died: How it ended, where its job did not say so.
    """

    state: str
    record: Record
    node: str = ""
    seconds: float | None = None
    reason: str = ""
    died: Outcome | None = None


def statuses(sweep: SweepFolder, *, note: bool = True) -> dict[str, Status]:
    """Trial id -> how it is. A trial that died without a word is settled: its reason noted, its run closed.

    Args:
        sweep: Submitted before.
        note: False: nothing is written.

    Raises:
        UserError: SLURM does not answer.
    """
    records = sweep.trials
    on_slurm = [record.job for record in records.values() if record.job and record.launcher == "slurm"]
    queued = sweep_slurm.queue(on_slurm, sweep.path.stat().st_uid)
    launcher = sweep.locked("launcher")
    found = {trial: _status(sweep, trial, record, queued, launcher) for trial, record in records.items()}
    if note:
        for trial, status in found.items():
            if status.died and not _note(sweep, trial, status):  # it said meanwhile how it ended
                found[trial] = _status(sweep, trial, status.record, queued, launcher)
    return found


def show(sweep: SweepFolder, interval: float | None = None) -> None:
    """Prints the table; with an interval (seconds) again and again, until nothing waits or runs."""
    if interval is None:
        found = statuses(sweep)
        close_parent(sweep, found)
        Console(markup=False).print(table(sweep, found))
        return
    with Live(console=Console(markup=False), auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            found = statuses(sweep)
            live.update(table(sweep, found), refresh=True)
            if not any(status.state in ALIVE for status in found.values()):
                break
            time.sleep(interval)
    close_parent(sweep, found)


def table(sweep: SweepFolder, found: dict[str, Status]) -> Group:
    """State, epoch, newest PI and OLS, node, time, log of every trial."""
    metrics = _metrics(sweep)
    grid = Table(box=None, pad_edge=False)
    for heading in ("trial", "", "state", "epoch", "PI %", "OLS %", "node", "time", "log"):
        grid.add_column(
            heading, overflow="fold" if heading in ("", "log") else "ellipsis", no_wrap=heading not in ("", "log")
        )
    for trial, status in found.items():
        logged = metrics.get(status.record.run_id, {})
        place = Path(status.record.log) if status.record.log else None
        grid.add_row(
            trial,
            status.record.name,
            Text(status.state, COLOURS.get(status.state, "")),
            f"{logged['epoch']:.0f}" if "epoch" in logged else "",
            *(f"{logged[key]:.1f}" if key in logged else "" for key in ("val/pi_score", "val/ols_score/original")),
            status.node,
            _duration(status.seconds),
            str(place.relative_to(sweep.path) if place and place.is_relative_to(sweep.path) else place or ""),
        )
    reasons = [f"{trial}: {status.reason}" for trial, status in found.items() if status.reason]
    counts = Counter(status.state for status in found.values())
    summary = f"{sweep.name}: " + ", ".join(f"{count} {state}" for state, count in counts.items())
    return Group(grid, "", *reasons, f"{summary}; logs below {sweep.path}")


def find_trial(sweeps: Sequence[SweepFolder], name: str) -> tuple[SweepFolder, str]:
    """A trial by the beginning of its id.

    Raises:
        UserError: There is none, or several.
    """
    known = [(sweep, trial) for sweep in sweeps for trial in sweep.settings["trials"]]
    found = [(sweep, trial) for sweep, trial in known if trial.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"no trial {name!r}{nearest(name, [trial for _, trial in known])}")
    several = ", ".join(f"{sweep.name}/{trial}" for sweep, trial in found)
    raise UserError(f"{name!r} is not one trial: {several}")


def print_log(name: str, rank: int) -> None:
    """Prints the log of one of a trial's processes.

    Args:
        name: The beginning of the trial's id, in any sweep of this working folder, or ``<sweep>/<trial>``.
        rank: Which process; the local launcher has one log for all.

    Raises:
        UserError: There is none.
    """
    folder, _, trial = name.rpartition("/")
    sweep, trial = find_trial([SweepFolder.named(folder)] if folder else SweepFolder.all(), trial)
    record = sweep.record(trial)
    path = Path(record.log) if record.log else None
    if path and rank:
        if record.launcher == "local":
            raise UserError("the local launcher writes all processes of a trial into one log: leave --rank out")
        path = path.with_name(path.name.replace("_0_log.", f"_{rank}_log."))
    if not path or not path.exists():
        raise UserError(f"trial {trial} has no log yet" + (f": {path}" if path else ", it was never started"))
    typer.echo(path.read_text(errors="replace"), nl=False)


def close_parent(sweep: SweepFolder, found: dict[str, Status]) -> None:
    """The parent run's status follows its trials', as far as the store answers."""
    states = {status.state for status in found.values()}
    if states & {*ALIVE}:
        return
    status = parent_status(states)
    try:
        Store(sweep.settings["uri"]).client.set_terminated(sweep.settings["run_id"], status)
    except Exception as error:
        log.warning("The tracking store is not told that sweep %s is %s: %s", sweep.name, status, error)


def _status(
    sweep: SweepFolder, trial: str, record: Record, queued: dict[str, sweep_slurm.Queued], launcher: bool
) -> Status:
    outcome = sweep.outcome(trial)
    if outcome is None and record.job is None:
        return Status("missing", record)
    if outcome and outcome.state == "finished":
        return _said(outcome, record)
    if (job := queued.get(str(record.job))) is not None:
        if job.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"):
            return Status("waiting", record, reason="" if job.reason in ("None", "Resources") else job.reason)
        seconds = time.time() - outcome.begin if outcome and not outcome.end else None
        return Status("running", record, job.nodes, seconds)
    if sweep.locked(trial):  # on SLURM by a job whose submitter was killed before it had noted the job's id
        return _said(outcome, record) if outcome else Status("running", record)
    if record.launcher == "local" and outcome is None:  # not begun: it will be, unless its launcher has ended
        return Status("waiting" if launcher else "missing", record)
    if outcome and outcome.state in ("failed", "cancelled") and not str(outcome.reason).startswith(LOST):
        return _said(outcome, record)
    return _settled(record, outcome, sweep.cancelled(trial))


def _said(outcome: Outcome, record: Record) -> Status:
    state = "stopped" if outcome.state == "preempted" else outcome.state
    return Status(state, record, outcome.node, (outcome.end or time.time()) - outcome.begin, outcome.reason or "")


def _settled(record: Record, outcome: Outcome | None, cancelled: bool) -> Status:
    """The trial's job is gone and did not say how it ended."""
    outcome = outcome or Outcome("running", "", 0, begin=_log_time(record) or time.time())
    reason: str | None = "cancelled" if cancelled else ""
    if record.launcher == "slurm" and not cancelled:
        reason = sweep_slurm.fate(str(record.job))
    last_word = max(outcome.begin, _log_time(record))
    # A job that has ended well has said so, and shared disks may show it late.
    if reason is None or (reason == sweep_slurm.COMPLETED and time.time() - last_word < SETTLES):
        return Status("running", record, outcome.node, time.time() - outcome.begin)
    if outcome.state == "preempted" and reason != "cancelled":
        return _said(outcome, record)
    reason = reason or outcome.reason or "gone without a word: killed, or its machine failed; see its log"
    state = "cancelled" if reason == "cancelled" else "failed"
    ended = replace(outcome, state=state, reason=reason, end=outcome.end or last_word)
    return replace(_said(ended, record), died=ended)


def _log_time(record: Record) -> float:
    """When a trial's log was last written, seconds since 1970; 0: there is none."""
    log = Path(record.log) if record.log else None
    return log.stat().st_mtime if log and log.exists() else 0.0


def _note(sweep: SweepFolder, trial: str, status: Status) -> bool:
    """On disk and on its run how a trial ended; False: its job has said so meanwhile."""
    assert status.died is not None
    again = sweep.outcome(trial)
    if again and again.end not in (None, status.died.end):
        return False
    sweep.save_outcome(trial, status.died)
    mark(sweep, status.record, status.state, status.reason)
    return True


def mark(sweep: SweepFolder, record: Record, state: str, reason: str) -> None:
    """On the MLflow run what its job can no longer say; what the job had logged is sent first."""
    try:
        spool = RunFolder(record.run_id).spool
        if spool.exists():
            sync_run(spool)
        client = Store(sweep.settings["uri"]).client
        client.set_terminated(record.run_id, ENDINGS[state])
        client.set_tag(record.run_id, "failure", reason)
    except Exception as error:
        log.warning("The tracking store is not told that %s has %s: %s", record.name, state, error)


def _metrics(sweep: SweepFolder) -> dict[str, dict[str, float]]:
    """Run id -> newest metrics, of all trials in one question; empty where the store is away."""
    settings = sweep.settings
    try:
        return {run.info.run_id: run.data.metrics for run in children(settings)}
    except Exception as error:
        log.warning("The tracking store %s does not answer: %s", Store(settings["uri"]), error)
        return {}


def children(settings: dict[str, Any]) -> list[Any]:
    """The MLflow runs under the sweep's parent run."""
    return list(Store(settings["uri"]).children(settings["run_id"], settings["experiment_id"]))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
