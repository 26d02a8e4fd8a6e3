"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

URI_VARIABLE = "MLFLOW_TRACKING_URI"


def _use_store(uri: str | None) -> str | None:
    """Have the whole command use a tracking store."""
    if uri is not None:
        os.environ[URI_VARIABLE] = uri
    return uri


def _trust(trust: bool) -> bool:
    """Have checkpoints name classes."""
    from experiments.plugins.trust import trust_checkpoints

    return trust_checkpoints(trust)


ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="An experiment YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY.PATH=VALUE", help="Overrides, e.g. data.root=/data/cxr trainer.devices=4"),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=_trust,
        help="Import classes of the user's own that a checkpoint names: runs their code.",
    ),
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved experiment and stop.")]
Processes = Annotated[int | None, typer.Option(min=1, help="Number of processes; default: one for each core.")]
TrackingUri = Annotated[
    str | None,
    typer.Option("--uri", callback=_use_store, help="Tracking store; default: MLFLOW_TRACKING_URI, else mlruns here."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")]
RUN = "A run's id or its beginning, its name, last, or SWEEP/TRIAL"
