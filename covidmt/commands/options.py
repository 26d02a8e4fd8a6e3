"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="An experiment YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Overrides, e.g. data.root=/data/cxr trainer.devices=4"),
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved experiment and stop.")]
Processes = Annotated[int | None, typer.Option(min=1, help="Number of processes; default: one for each core.")]
TrackingUri = Annotated[str | None, typer.Option("--uri", help="Tracking URI; default: the one that training uses.")]
