"""``covidmt sweep status`` and ``covidmt sweep logs``: the table of a sweep's trials, and what one has printed."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from pathlib import Path

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from covidmt.sweeps.folder import ALIVE, SweepFolder
from covidmt.sweeps.runs import children, close_parent
from covidmt.sweeps.status import TrialStatus, find_trial, trial_statuses
from experiments.errors import UserError
from experiments.names import Terminal
from experiments.printing.tables import WholeTable

log = logging.getLogger(__name__)

_SHOWN = ("epoch", "val/pi_score", "val/ols_score/original")  # newest metrics of a trial
COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "cancelled": "yellow", "stopped": "yellow"}


def print_status(sweep: SweepFolder, interval: float | None = None, *, as_json: bool = False) -> None:
    """Print the table.

    Args:
        sweep: Submitted before.
        interval: Print it again after so many seconds, until nothing waits or runs; None: print it once.
        as_json: Print it once, as JSON.

    Raises:
        UserError: SLURM does not answer.
    """
    if interval is None or as_json:
        statuses = trial_statuses(sweep)
        close_parent(sweep, {status.state for status in statuses.values()})
        if as_json:
            typer.echo(json.dumps(status_rows(sweep, statuses), indent=1))
        else:
            Terminal(markup=False).print(status_table(sweep, statuses))
        return

    with Live(console=Terminal(markup=False), auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            statuses = trial_statuses(sweep)
            live.update(status_table(sweep, statuses), refresh=True)
            states = {status.state for status in statuses.values()}
            if not states & {*ALIVE}:
                break
            time.sleep(interval)
    close_parent(sweep, states)


def status_table(sweep: SweepFolder, statuses: dict[str, TrialStatus]) -> Group:
    """Return a table of state, epoch (from 1), PI and OLS of the newest validation, node, time and log of every trial.

    Args:
        sweep: The sweep.
        statuses: By trial id.
    """
    metrics = _read_metrics(sweep)
    grid = WholeTable(box=None, pad_edge=False)
    for heading in ("trial", "", "state", "epoch", "val PI %", "val OLS %", "node", "time", "log"):
        grid.add_column(heading, overflow="fold" if heading in ("", "log") else "ellipsis")

    # a row a trial
    for trial, status in statuses.items():
        logged = metrics.get(status.record.run_id, {})
        path = Path(status.record.log) if status.record.log else None
        grid.add_row(
            trial,
            status.record.name,
            Text(status.state, COLOURS.get(status.state, "")),
            f"{logged['epoch']:.0f}" if "epoch" in logged else "",
            *(f"{logged[key]:.1f}" if key in logged else "" for key in ("val/pi_score", "val/ols_score/original")),
            status.node,
            format_duration(status.seconds),
            str(path.relative_to(sweep.path) if path and path.is_relative_to(sweep.path) else path or ""),
        )

    # below it: why, and how many
    reasons = [f"{trial}: {status.reason}" for trial, status in statuses.items() if status.reason]
    counts = Counter(status.state for status in statuses.values())
    summary = f"{sweep.name}: " + ", ".join(f"{count} {state}" for state, count in counts.items())
    return Group(grid, "", *reasons, f"{summary}; logs below {sweep.path}")


def status_rows(sweep: SweepFolder, statuses: dict[str, TrialStatus]) -> list[dict[str, object]]:
    """Return what the table says, and each trial's run, a dictionary a trial.

    Args:
        sweep: The sweep.
        statuses: By trial id.
    """
    metrics = _read_metrics(sweep)
    return [
        {
            "trial": trial,
            "name": status.record.name,
            "run": status.record.run_id,
            "state": status.state,
            **{key: metrics.get(status.record.run_id, {}).get(key) for key in _SHOWN},
            "node": status.node,
            "seconds": status.seconds,
            "log": status.record.log,
            "reason": status.reason,
        }
        for trial, status in statuses.items()
    ]


def print_log(name: str, rank: int) -> None:
    """Print the log of one of a trial's processes.

    Args:
        name: The beginning of the trial's id, in any sweep of this working folder, or ``<sweep>/<trial>``.
        rank: Number of the process; the local launcher has one log for all.

    Raises:
        UserError: There is none.
    """
    folder, _, trial = name.rpartition("/")
    sweep, trial = find_trial([SweepFolder.named(folder)] if folder else SweepFolder.all(), trial)
    record = sweep.trial(trial).record
    path = Path(record.log) if record.log else None
    if path and rank:
        if record.launcher == "local":
            raise UserError("the local launcher writes all processes of a trial into one log: leave --rank out")
        path = path.with_name(path.name.replace("_0_log.", f"_{rank}_log."))
    if not path or not path.exists():
        raise UserError(f"trial {trial} has no log yet" + (f": {path}" if path else ", it was never started"))
    typer.echo(path.read_text(errors="replace"), nl=False)


def _read_metrics(sweep: SweepFolder) -> dict[str, dict[str, float]]:
    """Return run id -> newest metrics, of all trials in one question; empty where the store is away.

    Epochs are counted from 1, as a training's lines count them.
    """
    try:
        metrics = {run.info.run_id: dict(run.data.metrics) for run in children(sweep.submitted)}
    except Exception as error:
        log.warning("The tracking store %s does not answer: %s", sweep.submitted.store, error)
        return {}
    return {
        run_id: {**newest, "epoch": newest["epoch"] + 1} if "epoch" in newest else newest
        for run_id, newest in metrics.items()
    }


def format_duration(seconds: float | None) -> str:
    """Return a time as hours, minutes and seconds; empty for None.

    Example:
        >>> from covidmt.sweeps.show import format_duration
        >>> format_duration(3725.4)
        '1:02:05'
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
