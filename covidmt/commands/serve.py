"""`covidmt serve`: a trained network as a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import RUN, TrackingUri, Trust
from covidmt.rooms import quick_imports


def serve(
    reference: Annotated[
        str, typer.Argument(metavar="RUN|CHECKPOINT|models:/...", help=f"{RUN}; a checkpoint file; or a model.")
    ],
    host: Annotated[str, typer.Option(help="Address; any other than this machine's own needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Clients must know what is in it; default: COVIDMT_SERVE_TOKEN.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Does the decision survive this channel? May be repeated; default: the training's own."),
    ] = None,
    segmenter: Annotated[
        str, typer.Option(metavar="NAME|CHECKPOINT|none", help="What finds the lungs; none: do not look for them.")
    ] = "covidmt",
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep films and answers here; default: nothing is kept.")
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, help="Megabytes of a request.")] = 32,
    uri: TrackingUri = None,
    trust: Trust = False,
) -> None:
    """Answer films over HTTP: a page for phones, an API, and a webhook for messaging platforms.

    Research software, not a medical device: no answer is a diagnosis.
    """
    with quick_imports():
        from covidmt.serving.serve import serve

    serve(
        reference,
        host=host,
        port=port,
        token_file=token_file,
        channels=channel or None,
        segmenter=None if segmenter == "none" else segmenter,
        keep=keep,
        max_mb=max_mb,
    )
