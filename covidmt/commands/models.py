"""`covidmt predict`, `evaluate` and `export`: what a trained network answers, how good that is, and who may use it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from covidmt.commands.options import RUN, Overrides, TrackingUri, Trust
from covidmt.rooms import quick_imports


def predict(
    checkpoint: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help=f"{RUN}; or a checkpoint file.")],
    images: Annotated[list[str], typer.Argument(help="Images (PNG, JPEG, DICOM, ...), or folders of them.")],
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Does the decision survive this channel? May be repeated; default: the training's own."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for predictions.jsonl and the pictures.")] = Path(
        "predictions"
    ),
    segmenter: Annotated[
        str, typer.Option(metavar="NAME|CHECKPOINT|none", help="What finds the lungs; none: do not look for them.")
    ] = "covidmt",
    uri: TrackingUri = None,
    trust: Trust = False,
) -> None:
    """Ask a trained network about images: its answer, whether that survives a phone, whether it looks at the lungs.

    Research software, not a medical device: no answer is a diagnosis.
    """
    with quick_imports():
        from covidmt.prediction.predict import predict_images

    predict_images(
        checkpoint,
        images,
        channels=channel or None,
        out=out,
        segmenter=None if segmenter == "none" else segmenter,
    )


def evaluate(
    reference: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help=f"{RUN}; or a checkpoint file.")],
    overrides: Overrides = None,
    pairs: Annotated[
        str | None,
        typer.Option(metavar="SOURCE|DIR", help="A source, or a folder of `covidmt pairs make`."),
    ] = None,
    split: Annotated[Literal["test", "val"], typer.Option(help="val: validation images, simulated channel.")] = "test",
    channel: Annotated[
        list[str] | None, typer.Option(help="Measure PI through this channel too; may be given several times.")
    ] = None,
    channel_limit: Annotated[int, typer.Option(min=1, help="Originals sent through the channels.")] = 500,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1, help="Draws of a random channel such as whatsapp:quality=60..92; default: data.pairs.draws."
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN|CHECKPOINT", help="Compare on the same images; may be given several times."),
    ] = None,
    membership: Annotated[
        bool, typer.Option("--membership", help="Does the loss tell which images it was trained on? Needs these too.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap over patients.")] = 2000,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder; default: below mlruns/evaluations.")] = None,
    uri: TrackingUri = None,
    trust: Trust = False,
) -> None:
    """Measure every score of a trained network, with interval and controls: table, JSON, CSV and an HTML report."""
    with quick_imports():
        from covidmt.evaluation.evaluate import evaluate

    evaluate(
        reference,
        overrides or [],
        pairs=pairs,
        split=split,
        channels=channel or [],
        channel_limit=channel_limit,
        draws=draws,
        against=against or [],
        membership=membership,
        resamples=resamples,
        out=out,
    )


def export(
    reference: Annotated[
        str, typer.Argument(metavar="RUN|CHECKPOINT|models:/...", help=f"{RUN}; a checkpoint file; or a model.")
    ],
    kind: Annotated[
        Literal["mlflow", "onnx", "torch-export", "safetensors"],
        typer.Option("--format", help="mlflow: predictor, signature, card; the others: the networks alone."),
    ] = "mlflow",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder; default: mlflow goes to the run's store, others to exports/RUN."),
    ] = None,
    register: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name in MLflow's registry; the best version has the alias best.")
    ] = None,
    segmenter: Annotated[
        str, typer.Option(metavar="NAME|CHECKPOINT|none", help="What finds the lungs; none: leave it out.")
    ] = "covidmt",
    uri: TrackingUri = None,
    trust: Trust = False,
) -> None:
    """Log a trained network as an MLflow model with its card, or write it as ONNX, torch.export or safetensors."""
    with quick_imports():
        from covidmt.exporting.export import export

    export(reference, kind=kind, out=out, register=register, segmenter=None if segmenter == "none" else segmenter)
