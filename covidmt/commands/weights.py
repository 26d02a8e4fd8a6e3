"""`covidmt weights`: pretrained weights for machines without internet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.rooms import quick_imports

app = typer.Typer(help="ImageNet weights for machines without internet.", no_args_is_help=True)


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A base network: resnet50, timm:tf_efficientnet_lite0, ...")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the file.")],
) -> None:
    """Download ImageNet weights into a folder, to copy to a machine without internet."""
    with quick_imports():
        from lightning_modules.networks.weights import fetch_weights

    path = fetch_weights(name, directory)
    typer.echo(f"{path}\nuse it with: model.weights={path}")
