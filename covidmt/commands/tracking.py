"""`covidmt ui` and `covidmt sync`: the tracking store."""

from __future__ import annotations

from typing import Annotated

import typer

from covidmt.commands.options import TrackingUri
from experiments.errors import UserError


def ui(
    uri: TrackingUri = None,
    port: Annotated[int, typer.Option(help="Port on localhost.")] = 5000,
) -> None:
    """Open the MLflow UI on the project's own store."""
    from covidmt.tracking.store import Store
    from covidmt.tracking.ui import open_ui
    from experiments.schema import Tracking

    open_ui(Store.of(Tracking(uri=uri)), port)


def sync() -> None:
    """Send what runs could not send while their tracking server was unavailable."""
    from covidmt.tracking.folders import spools_dir
    from covidmt.tracking.sender import sync as send

    left = 0
    for run in send(spools_dir()):
        if run.store is None:
            typer.echo(f"{run.run_id}: {run.problem}")
            continue
        typer.echo(f"{run.run_id}: {run.sent} events sent to {run.store}" + (f"; {run.problem}" if run.problem else ""))
        left += run.problem is not None
    if left:
        raise UserError(f"{left} run(s) not sent completely; nothing is lost, run `covidmt sync` again later")
