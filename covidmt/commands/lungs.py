"""`covidmt lungs`: the lung segmenter, its training and its masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import ExperimentFile, Overrides, PrintConfig
from covidmt.rooms import quick_imports

app = typer.Typer(help="Lung segmentation: train a U-Net, write masks.", no_args_is_help=True)

LungSegmenter = Annotated[
    str, typer.Option(metavar="NAME", help="covidmt, torchxrayvision, or a checkpoint of `covidmt lungs train`.")
]


@app.command("train")
def train(experiment: ExperimentFile, overrides: Overrides = None, print_config: PrintConfig = False) -> None:
    """Train the lung U-Net, and print F1, Jaccard, precision and recall of each class."""
    from experiments.load import load_lungs_experiment, to_yaml

    loaded = load_lungs_experiment(experiment, overrides or [])
    if print_config:
        from experiments.trainer.arguments import check_arguments

        check_arguments(loaded.trainer)
        typer.echo(to_yaml(loaded), nl=False)
        return
    with quick_imports():
        from covidmt.lungs.train import train_lungs

    train_lungs(loaded)


@app.command("cross-validate")
def cross_validate(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    folds: Annotated[int, typer.Option(help="Number of folds; a patient's images stay in one.")] = 5,
) -> None:
    """Train and score a lung experiment fold by fold, and print the mean Dice per image with its interval."""
    from experiments.load import load_lungs_experiment

    with quick_imports():
        from covidmt.lungs.scores import cross_validate

    cross_validate(load_lungs_experiment(experiment, overrides or []), folds)


@app.command("score")
def score(
    images: Annotated[str, typer.Argument(metavar="IMAGES|EXPERIMENT", help="A folder of images; or a lung YAML.")],
    masks: Annotated[list[str], typer.Argument(metavar="MASKS|KEY=VALUE", help="Folders of masks; or overrides.")],
    segmenter: LungSegmenter = "covidmt",
    split: Annotated[str, typer.Option(help="Of an experiment: train, val or test.")] = "test",
    suffix: Annotated[str, typer.Option(help="What a mask's name has behind its image's, such as _mask.")] = "",
    levels: Annotated[str | None, typer.Option(help="Grey levels of the masks: '{lungs: [1, 2], heart: 3}'.")] = None,
    hearts: Annotated[Path | None, typer.Option(help="A folder of heart masks, named as the lung masks.")] = None,
    drawn: Annotated[str, typer.Option(help="in: the masks hold the part behind the heart. out: they do not.")] = "in",
    out: Annotated[Path | None, typer.Option(help="A CSV file with a row for each image.")] = None,
) -> None:
    """Score a segmenter on any folder of images and masks, or on a split of a lung experiment.

    Dice of each image, with and without the heart, and their means with intervals. Two folders of masks (the left and
    the right lung) are joined.
    """
    with quick_imports():
        from covidmt.lungs.scores import MaskOptions, score_folder, score_segmenter

    if Path(images).is_dir():
        options = MaskOptions(suffix, levels, hearts, drawn)
        score_folder(segmenter, Path(images), [Path(mask) for mask in masks], options, out)
    else:
        from experiments.load import load_lungs_experiment

        score_segmenter(load_lungs_experiment(images, masks), segmenter, split, out)


@app.command("masks")
def masks(
    images: Annotated[Path, typer.Argument(help="An image or a folder of images.")],
    out: Annotated[Path, typer.Argument(help="Folder for the masks, <image stem>.png.")],
    segmenter: LungSegmenter = "covidmt",
    heart: Annotated[str, typer.Option(help="in: lungs hold the part behind the heart. out: they stop at it.")] = "in",
) -> None:
    """Write a lung mask for every image of a folder."""
    with quick_imports():
        from covidmt.lungs.segment import write_masks

    write_masks(segmenter, images, out, heart)


@app.command("export")
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of `covidmt lungs train`.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
) -> None:
    """Write a trained segmenter in half precision, ready to be shared."""
    with quick_imports():
        from covidmt.lungs.segment import export_segmenter

    export_segmenter(checkpoint, out)
