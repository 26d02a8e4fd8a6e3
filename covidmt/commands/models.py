"""`covidmt predict` and `covidmt evaluate`: what a trained network answers, and how good that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from covidmt.commands.options import Overrides


def predict(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT|RUN", help="A checkpoint file, or a run's id.")],
    images: Annotated[list[str], typer.Argument(help="Images (PNG, JPEG, DICOM, ...), or folders of them.")],
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Does the decision survive this channel? May be given several times."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for predictions.jsonl and the pictures.")] = Path(
        "predictions"
    ),
    segmenter: Annotated[
        str, typer.Option(metavar="NAME|CHECKPOINT|none", help="What finds the lungs; none: do not look for them.")
    ] = "covidmt",
) -> None:
    """Ask a trained network about images: its answer, whether that survives a phone, whether it looks at the lungs.

    Research software, not a medical device: no answer is a diagnosis.
    """
    from covidmt.prediction.predict import predict_images

    predict_images(
        checkpoint,
        images,
        channels=channel or ["whatsapp"],
        out=out,
        segmenter=None if segmenter == "none" else segmenter,
    )


def evaluate(
    reference: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="A run's id or a checkpoint file.")],
    overrides: Overrides = None,
    pairs: Annotated[
        str | None, typer.Option(help="A source of the experiment, or a folder of `covidmt pairs make`.")
    ] = None,
    split: Annotated[Literal["test", "val"], typer.Option(help="val: validation images, simulated channel.")] = "test",
    channel: Annotated[
        list[str] | None, typer.Option(help="Measure PI through this channel too; may be given several times.")
    ] = None,
    channel_limit: Annotated[int, typer.Option(min=1, help="Originals sent through the channels.")] = 500,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN|CHECKPOINT", help="Compare on the same images; may be given several times."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap over patients.")] = 2000,
    out: Annotated[Path | None, typer.Option(help="Folder; default: below mlruns/evaluations.")] = None,
) -> None:
    """Measure every score of a trained network, with interval and controls: table, JSON, CSV and an HTML report."""
    from covidmt.evaluation.evaluate import evaluate

    evaluate(
        reference,
        overrides or [],
        pairs=pairs,
        split=split,
        channels=channel or [],
        channel_limit=channel_limit,
        against=against or [],
        resamples=resamples,
        out=out,
    )
