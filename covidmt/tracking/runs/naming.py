"""A run by the name that a person has for it: its id or the beginning of it, its name, ``last``, ``SWEEP/TRIAL``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from covidmt.tracking.store import Store
from experiments.errors import UserError, nearest
from experiments.names import printable

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_ID = re.compile(r"[0-9a-f]{32}")
LAST = "last"
_BEGINNING = re.compile(r"[0-9a-f]{4,31}")
_SWEEP = "tags.`covidmt.kind` = 'sweep'"
_SHOWN = 5  # runs that a message lists


class NoSuchRun(UserError):
    """The store has no run of a name."""


def find_run(reference: str, store: Store) -> Run:
    """Return the run that a person means.

    Args:
        reference: A run's id, or at least four digits of its beginning; its name; ``last``, the newest run that is no
            sweep; or ``SWEEP/TRIAL``, with a trial's name, label or number, of the newest sweep of that name.
        store: Where to look; it must exist and answer.

    Raises:
        NoSuchRun: None is meant.
        UserError: Several are meant, or the store does not answer.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(f"sqlite:///{folder}/runs.db")
        ...     store.prepare()
        ...     made = store.client.create_run("0", run_name="resnet50")
        ...     [find_run(name, store).info.run_id == made.info.run_id for name in ("resnet50", "last")]
        [True, True]
    """
    store.require(
        f"{printable(reference)}: there is no tracking store {store}; start in the folder that the run was started in, "
        "or set MLFLOW_TRACKING_URI"
    )
    with store.explaining():
        experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
        if reference == LAST:
            return _newest(store, experiments)
        found = _candidates(store, experiments, reference)

    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{printable(reference)}: {len(found)} runs are called so: {_list(found)}; give the beginning of one's id"
        )
    raise NoSuchRun(
        f"run {printable(reference)}: not in {store}; `covidmt runs` lists what there is"
        f"{nearest(reference, _names(store, experiments))}; or set MLFLOW_TRACKING_URI"
    )


def _newest(store: Store, experiments: list[str]) -> Run:
    page = store.client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=100)
    for run in page:
        if run.data.tags.get("covidmt.kind") != "sweep":
            return run
    raise UserError(f"{LAST}: there is no run in {store} yet")


def _candidates(store: Store, experiments: list[str], reference: str) -> list[Run]:
    """Return the runs of an id, else those of a name, else those whose id begins so, else a sweep's trial."""
    if RUN_ID.fullmatch(reference):
        return list(store.search_runs(experiments, f"attributes.run_id = '{reference}'"))

    named = store.search_runs(experiments, _equals("attributes.run_name", reference))
    found = [run for run in named if run.info.run_name == reference]
    if not found and _BEGINNING.fullmatch(reference):
        found = list(store.search_runs(experiments, f"attributes.run_id LIKE '{reference}%'"))

    sweep, slash, trial = reference.rpartition("/")
    return found or (_trials(store, experiments, sweep, trial) if slash else [])


def _equals(key: str, text: str) -> str:
    """Return MLflow's condition that a key has a text; its filters know no escapes, so that some texts give none."""
    quote = next((quote for quote in "'\"" if quote not in text), "")
    return f"{key} = {quote}{text}{quote}" if quote else ""


def _trials(store: Store, experiments: list[str], sweep: str, trial: str) -> list[Run]:
    sweeps = [run for run in store.search_runs(experiments, _SWEEP) if run.data.tags.get("sweep") == sweep]
    if not sweeps:
        return []
    newest = max(sweeps, key=lambda run: run.info.start_time).info
    children = store.children(newest.run_id, newest.experiment_id)
    return [run for run in children if trial in trial_names(run)]


def trial_names(run: Run) -> set[str]:
    """Return what a sweep's trial is called after the sweep's name: its id or number, its label, its run's name."""
    number = run.data.tags.get("trial", "")
    names = {number, number.lstrip("0") or number, run.data.tags.get("trial_label", ""), run.info.run_name or ""}
    return names - {""}


def _names(store: Store, experiments: list[str]) -> list[str]:
    """Return the names of the newest runs, each once, for a suggestion."""
    page = store.client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=100)
    return list(dict.fromkeys(run.info.run_name for run in page if run.info.run_name))[:_SHOWN]


def _list(runs: Sequence[Run]) -> str:
    newest = sorted(runs, key=lambda run: run.info.start_time, reverse=True)
    named = [f"{run.info.run_id[:8]} ({_start(run):%Y-%m-%d %H:%M}, {run.info.status})" for run in newest[:_SHOWN]]
    return ", ".join(named) + (f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else "")


def _start(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000)
