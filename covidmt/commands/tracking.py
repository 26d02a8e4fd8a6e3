"""`covidmt ui`, `covidmt sync` and `covidmt clean`: the tracking store, and what lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import RUN, AsJson, TrackingUri
from experiments.errors import UserError


def ui(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help=f"{RUN}; none: the newest run's experiment.")] = None,
    uri: TrackingUri = None,
    port: Annotated[int, typer.Option(help="Port on localhost.")] = 5000,
) -> None:
    """Open the MLflow UI on the project's own store, and print the address of a run or of the newest experiment."""
    from covidmt.tracking.store import Store
    from covidmt.tracking.ui import open_ui
    from experiments.schema import Tracking

    open_ui(Store.of(Tracking(uri=uri)), port, run=run)


def sync(
    spools: Annotated[
        Path | None, typer.Option("--from", help="Folder of spools; default: mlruns/spool.", metavar="DIR")
    ] = None,
) -> None:
    """Send what runs could not send while their tracking store was unavailable; make runs anew that it has lost."""
    from covidmt.tracking.folders import spools_dir
    from covidmt.tracking.sender import sync as send

    left = 0
    for run in send(spools or spools_dir()):
        if run.store is None:
            typer.echo(f"{run.run_id}: {run.problem}")
            continue
        if run.made_anew_of:
            typer.echo(f"{run.run_id}: made anew of {run.made_anew_of}, which {run.store} no longer knows")
        typer.echo(f"{run.run_id}: {run.sent} events sent to {run.store}" + (f"; {run.problem}" if run.problem else ""))
        left += run.problem is not None
    if left:
        raise UserError(f"{left} run(s) not sent completely, see above; run `covidmt sync` again later")


def clean(
    caches: Annotated[
        list[Path] | None, typer.Option("--cache", metavar="DIR", help="A folder of data.cache, to be compacted too.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this nothing is changed.")] = False,
    uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Show what below mlruns could go, and how much: of deleted and finished runs, of kills, in caches; or remove it.

    Checkpoints of runs that were deleted in MLflow; last.ckpt of finished runs, which are resumed by nobody; what
    killed processes left half made. Nothing that is in use goes.
    """
    from rich.filesize import decimal

    from covidmt.tracking.folders import mlruns_dir
    from covidmt.tracking.runs.cleaning import find_removable, remove, store_or_none
    from covidmt.tracking.store import Store
    from experiments.names import Terminal
    from experiments.schema import Tracking

    findings = find_removable(mlruns_dir(), store_or_none(Store.of(Tracking(uri=uri))), caches or [])
    freed = {item: remove(item, mlruns_dir()) for item in findings.removable} if yes else {}
    if as_json:
        rows = [
            {"kind": item.kind, "path": str(item.path), "bytes": item.size, "freed": freed.get(item)}
            for item in findings.removable
        ]
        typer.echo(json.dumps({"removable": rows, "in use": findings.in_use, "unknown": findings.unknown}, indent=1))
        return

    # a line each, then what is left and how much it is
    console = Terminal(markup=False, highlight=False)
    for item in findings.removable:
        console.print(f"{decimal(freed.get(item, item.size)):>9}  {item.kind}: {item.path}", soft_wrap=True)
    for words, runs in (("in use, so left alone", findings.in_use), ("not in this store, so left", findings.unknown)):
        if runs:
            console.print(f"{words}: {len(runs)} run(s): {', '.join(run[:8] for run in runs)}", soft_wrap=True)
    total = decimal(sum(freed.values()) if yes else sum(item.size for item in findings.removable))
    if not findings.removable:
        console.print(f"nothing to remove in {mlruns_dir()}", soft_wrap=True)
    else:
        console.print(f"{total} removed" if yes else f"{total} could go; `covidmt clean --yes` removes it")
