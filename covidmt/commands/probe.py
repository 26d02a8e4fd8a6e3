"""`covidmt probe`: what the frozen features of a trained network tell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import RUN, Overrides, TrackingUri, Trust
from covidmt.rooms import quick_imports
from experiments.errors import UserError


def probe(
    reference: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help=f"{RUN}; or a checkpoint file.")],
    overrides: Overrides = None,
    column: Annotated[
        str | None,
        typer.Option(help="A text column of the sample table: origin, file_format, projection, or an own one."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Whose source and labels; default: the deciding task.")] = None,
    shots: Annotated[
        list[str] | None,
        typer.Option(metavar="K...", help="Few-shot curve: images a class, e.g. --shots 1 5 10."),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="How often the few images are drawn.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap over patients.")] = 2000,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder; default: below mlruns/probes.")] = None,
    uri: TrackingUri = None,
    trust: Trust = False,
) -> None:
    """Probe a trained network: do its features tell where an image is from, and the disease within one source?"""
    # the command line gives the option its first number, and the others to the arguments
    numbers = [*(shots or []), *(text for text in overrides or [] if shots and text.isdecimal())]
    settings = [text for text in overrides or [] if not (shots and text.isdecimal())]
    if any(not text.isdecimal() or int(text) < 1 for text in numbers):
        raise UserError(f"--shots: takes whole numbers from 1 on, as in --shots 1 5 10; not {' '.join(numbers)}")

    with quick_imports():
        from covidmt.probing.probe import probe_network

    probe_network(
        reference,
        settings,
        column=column,
        task=task,
        shots=sorted(map(int, numbers)),
        draws=draws,
        seed=seed,
        resamples=resamples,
        out=out,
    )
