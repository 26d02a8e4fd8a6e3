"""`covidmt pairs`: make pairs through a simulated channel, or match what a phone received."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import Processes

app = typer.Typer(
    help="Image pairs in WaCXR's layout: make them, or match what a phone received.", no_args_is_help=True
)

Positive = Annotated[
    str, typer.Option(metavar="CLASS", help="The class folder that has the disease, where the names lack 0_ and 1_.")
]
Link = Annotated[bool, typer.Option("--link", help="Hard-link files instead of copying them (on one file system).")]


@app.command("make")
def make(
    source: Annotated[Path, typer.Argument(help="A folder of class folders with images, or of images.")],
    out: Annotated[Path, typer.Argument(help="Folder for the pairs; several channels can share it.")],
    channel: Annotated[str, typer.Option(help="E.g. whatsapp, whatsapp+whatsapp, resize:1600+jpeg:70")] = "whatsapp",
    positive: Positive = "COVID-19",
    link: Link = False,
    processes: Processes = None,
) -> None:
    """Send images through a simulated channel. The same command resumes an interrupted run."""
    from covidmt.pairs.make import make_pairs

    make_pairs(source, out, channel, positive=positive, link=link, processes=processes)


@app.command("compare")
def compare(
    originals: Annotated[Path, typer.Argument(help="What was sent: a folder of images, with subfolders or not.")],
    received: Annotated[Path, typer.Argument(help="What was received of it, by the same names.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="A simulated channel to compare with; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was measured, for the channel fitted:FILE."),
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Side of the input at which grey levels are compared.")] = 512,
    processes: Processes = None,
) -> None:
    """Tell what a route did to images, and which simulated channel does most nearly the same."""
    from covidmt.pairs.compare import CHANNELS, compare_route, describe_route, print_comparison
    from datamodules.channels.fitted import write_route
    from experiments.names import Terminal

    chosen = channel or CHANNELS
    comparison = compare_route(originals, received, channels=chosen, size=size, processes=processes)
    print_comparison(comparison, Terminal())
    if out is not None:
        write_route(out, describe_route(comparison))
        typer.echo(f"the same again: --channel fitted:{out}")


@app.command("match")
def match(
    originals: Annotated[Path, typer.Argument(help="What was sent: a folder of class folders, or of images.")],
    received: Annotated[Path, typer.Argument(help="The folder of what the phone received.")],
    out: Annotated[Path, typer.Argument(help="New folder for the pairs.")],
    channel: Annotated[str, typer.Option(help="Names the folder of the received images.")] = "whatsapp",
    positive: Positive = "COVID-19",
    by_time: Annotated[
        bool,
        typer.Option("--by-time", help="The originals were sent in the order of their times, not names."),
    ] = False,
    link: Link = False,
    processes: Processes = None,
) -> None:
    """Pair files that really went through a phone with their originals, by perceptual hash and by time."""
    from covidmt.pairs.match import match_pairs

    match_pairs(
        originals, received, out, channel=channel, positive=positive, by_time=by_time, link=link, processes=processes
    )
