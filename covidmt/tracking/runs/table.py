"""The store's runs as a table: which, in what order, with which columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from covidmt.tracking.store import Store
from experiments.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

# Shown of each run, where nobody asks for other columns and some run has them.
COLUMNS = (
    "run", "name", "status", "started", "hours", "sweep", "seed", "test/*/accuracy", "test/*/auroc", "test/pi_score",
    "test/ols_score/original", "test/ols_score/received", "val/pi_score",
)  # fmt: skip
_ABOUT = ("run", "name", "status", "started", "hours")  # of the run itself; all other columns are what it logged


def table_of_runs(
    store: Store,
    condition: str = "",
    *,
    columns: Sequence[str] = (),
    sort: str = "started",
    ascending: bool = False,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return the store's runs, one a row.

    Args:
        store: It must exist and answer.
        condition: MLflow's filter, such as ``params.seed = '1' AND metrics.`test/pi_score` < 5``; empty: all runs.
        columns: Names of metrics, parameters or tags, or ``run`` (its id), ``name``, ``status``, ``started``,
            ``hours``; none: those of :data:`COLUMNS` that some run has, of each deciding task its accuracy and AUROC.
        sort: The column to sort by; runs without it come last.
        ascending: Lowest or oldest first.
        limit: Number of rows at most.

    Raises:
        UserError: A filter that MLflow does not understand, a column that no run has, or a store that does not answer.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(f"sqlite:///{folder}/runs.db")
        ...     store.prepare()
        ...     for seed in (0, 1):
        ...         run = store.client.create_run("0", run_name=f"seed {seed}").info.run_id
        ...         store.client.log_metric(run, "test/pi_score", 4.0 - seed)
        ...     table = table_of_runs(store, columns=["name", "test/pi_score"], sort="test/pi_score", ascending=True)
        >>> table.values.tolist()
        [['seed 1', 3.0], ['seed 0', 4.0]]
    """
    import pandas as pd

    store.require(f"no runs yet: {store.database} is not there; start in the folder of the runs, or name a --uri")
    with store.explaining():
        experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
        rows = [_row(run) for run in store.search_runs(experiments, condition)]

    table = pd.DataFrame(rows, columns=None if rows else [*_ABOUT])
    chosen = list(columns) or _usual_columns(table)
    for name in dict.fromkeys([*chosen, sort]):
        if rows and name not in table:
            raise UserError(f"no run has a metric, parameter or tag {name!r}{nearest(name, _close(name, table))}")
    if rows:
        table = table.sort_values(sort, ascending=ascending, kind="stable", na_position="last")
    return table.reindex(columns=chosen).iloc[:limit].reset_index(drop=True)


def _usual_columns(table: pd.DataFrame) -> list[str]:
    """Return those of :data:`COLUMNS` that some run has, ``*`` being the tasks that decide: they have an accuracy."""
    start, end = "test/", "/accuracy"
    named = [str(name) for name in table if str(name).startswith(start) and str(name).endswith(end)]
    tasks = sorted({name[len(start) : -len(end)] for name in named})
    wanted = [name.replace("*", task) for name in COLUMNS for task in (tasks if "*" in name else [""])]
    has_test = "test/pi_score" in table  # else the validation's stands in for it
    return [name for name in wanted if name in table and not (has_test and name == "val/pi_score")]


def _row(run: Run) -> dict[str, object]:
    """Return what a run is and all that it logged: tags, then parameters, then metrics of the same name."""
    import pandas as pd

    info, start, end = run.info, run.info.start_time, run.info.end_time
    return {
        **{key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
        **run.data.params,
        **run.data.metrics,
        "run": info.run_id,
        "name": info.run_name,
        "status": info.status,
        "started": pd.Timestamp(start, unit="ms", tz="UTC").tz_convert(_time_zone()),
        "hours": round((end - start) / 3_600_000, 2) if end else None,
    }


def _time_zone() -> tzinfo | None:
    return datetime.now().astimezone().tzinfo


def _close(name: str, table: pd.DataFrame) -> list[str]:
    """Return the columns that a wrong name could mean: those that hold a part of it, or else all."""
    part = name.rpartition("/")[2]
    return [column for column in map(str, table) if part in column] or list(map(str, table))
