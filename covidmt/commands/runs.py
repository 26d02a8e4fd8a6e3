"""`covidmt runs`: the tracking store's runs in the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from covidmt.commands.options import RUN, AsJson, TrackingUri

if TYPE_CHECKING:
    from covidmt.tracking.store import Store

app = typer.Typer(help="The runs of the tracking store: a table, one run, or what differs between two.")
RunName = Annotated[str, typer.Argument(metavar="RUN", help=f"{RUN}.")]


@app.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    condition: Annotated[
        str, typer.Option("--filter", metavar="FILTER", help="MLflow's filter, e.g. \"params.seed = '1'\".")
    ] = "",
    sort: Annotated[str, typer.Option(metavar="COLUMN", help="A metric, a parameter, a tag, or started.")] = "started",
    ascending: Annotated[bool, typer.Option("--ascending", help="Lowest or oldest first.")] = False,
    columns: Annotated[
        str, typer.Option(metavar="COLUMN,...", help="Metrics, parameters, tags; run, name, status, started, hours.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 30,
    uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of the tracking store; `runs show RUN` and `runs diff RUN RUN` look closer."""
    if context.invoked_subcommand:
        return
    from covidmt.tracking.runs.table import table_of_runs

    chosen = [name.strip() for name in columns.split(",") if name.strip()]
    table = table_of_runs(_store(uri), condition, columns=chosen, sort=sort, ascending=ascending, limit=limit)
    if as_json:
        typer.echo(table.to_json(orient="records", date_format="iso", indent=1))
        return
    if "run" in table:
        table["run"] = table["run"].str[:8]  # enough to name it
    _print_table(list(table.columns), [[_cell(value) for value in row] for row in table.itertuples(index=False)])


@app.command()
def show(run: RunName, uri: TrackingUri = None, as_json: AsJson = False) -> None:
    """Show one run: its state, settings and newest metrics."""
    from covidmt.tracking.runs.naming import find_run

    store = _store(uri)
    found = find_run(run, store)
    tags = {key: value for key, value in found.data.tags.items() if not key.startswith("mlflow.")}
    about = {"run": found.info.run_id, "name": found.info.run_name, "status": found.info.status}
    groups = {"run": about, "tags": tags, "settings": found.data.params, "metrics": found.data.metrics}
    if as_json:
        typer.echo(json.dumps(groups, indent=1))
        return
    for title, values in groups.items():
        _print_table([title, ""], [[key, _cell(values[key])] for key in (values if title == "run" else sorted(values))])


@app.command()
def diff(first: RunName, second: RunName, uri: TrackingUri = None, as_json: AsJson = False) -> None:
    """Show the settings in which two runs differ."""
    from covidmt.tracking.runs.naming import find_run
    from covidmt.tracking.runs.settings import read_settings, setting_differences

    store = _store(uri)
    runs = [find_run(name, store) for name in (first, second)]
    rows = setting_differences(*(read_settings(run, store) for run in runs))
    if as_json:
        typer.echo(json.dumps({key: [left, right] for key, left, right in rows}, indent=1))
    elif rows:
        _print_table(["setting", *(f"{run.info.run_name} {run.info.run_id[:8]}" for run in runs)], rows)
    else:
        typer.echo("their settings are the same")


def _store(uri: str | None) -> Store:
    from covidmt.tracking.store import Store
    from experiments.schema import Tracking

    return Store.of(Tracking(uri=uri))


def _cell(value: object) -> str:
    """Return a value as a table shows it: four digits of a number, minutes of a time, the beginning of a run's id."""
    import pandas as pd

    if value is None or (isinstance(value, float | pd.Timestamp) and pd.isna(value)):
        return "-"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_table(header: list[str], rows: list[list[str]] | list[tuple[str, str, str]]) -> None:
    from rich.markup import escape

    from experiments.names import Terminal
    from experiments.printing.tables import WholeTable

    console = Terminal()

    # a name of many parts takes several lines where there is little room
    table = WholeTable(box=None, pad_edge=False, header_style="bold")
    for name in header:
        title = name.replace("/", "/\n") if console.is_terminal else name
        table.add_column(escape(title), overflow="fold", no_wrap=name in ("run", "status", "started", "hours", "seed"))
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
