"""`covidmt report` and `covidmt panel`: trained networks side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import RUN, TrackingUri, Trust
from covidmt.rooms import quick_imports


def report(
    names: Annotated[
        list[str],
        typer.Argument(metavar="SWEEP|RUN", help=f"Sweeps by name; or runs. {RUN}."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for page, tables and figures.")] = Path("report"),
    uri: TrackingUri = None,
) -> None:
    """Report which configuration is more stable, by how much, and how sure that is, beside the paper's figures."""
    from covidmt.tracking.store import Store
    from experiments.schema import Tracking

    with quick_imports():
        from covidmt.comparison.report import report_runs

    typer.echo(f"report: {report_runs(names, out, Store.of(Tracking(uri=uri)))}")


def panel(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep that varies data.view.")],
    images: Annotated[list[str] | None, typer.Argument(help="Images; none: test images drawn by seed.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture.")] = Path("panel.png"),
    network: Annotated[
        str | None, typer.Option(metavar="NAME", help="Base network; default: the sweep's first.")
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(metavar="N", help="Seed; default: the lowest with most representations."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Number of images of each class, if none are named.")] = 1,
    segmenter: Annotated[
        str | None,
        typer.Option(metavar="NAME|CHECKPOINT", help="What finds the lungs; default: as data.masks."),
    ] = None,
    uri: TrackingUri = None,
    trust: Trust = False,
) -> None:
    """Draw ROI Hide-and-Seek: images in their representations, each with its network's answer and Grad-CAM."""
    from covidmt.tracking.store import Store
    from experiments.schema import Tracking

    with quick_imports():
        from covidmt.comparison.panel import draw_representations

    store = Store.of(Tracking(uri=uri))
    draw_representations([sweep], images or [], out, store, network=network, seed=seed, rows=rows, segmenter=segmenter)
