"""How well lungs are found, image by image: ``covidmt lungs cross-validate`` and ``covidmt lungs score``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from lightning.pytorch import seed_everything

from covidmt.lungs.segment import refuse_unreadable, segment_files
from covidmt.lungs.train import WITHOUT_VALIDATION
from covidmt.tracking.folders import mlruns_dir
from covidmt.trainer import explain_refusals, make_trainer
from datamodules.images.masks import in_convention, resize_areas
from datamodules.lungs import LungDataModule, LungFiles, read_lung_folder
from datamodules.sources.files import list_images
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.load import parse_levels, to_dict, to_yaml
from experiments.lungs.masks import HEARTS
from experiments.lungs.poses import pose_lines
from experiments.lungs_schema import LungFolder, LungsExperiment
from experiments.names import Terminal, harmless_table
from experiments.printing.tables import WholeTable
from lightning_modules.lungs.segmenters import Segmenter, load_segmenter
from lightning_modules.lungs.unet import LungUNet
from metrics.bootstrap import PatientBootstrap

# The columns of a score table: convention or area -> what it is called.
DICES = {"dice_in": "lungs, behind the heart too", "dice_out": "lungs up to the heart", "dice_heart": "heart"}


def cross_validate(experiment: LungsExperiment, folds: int = 5) -> Path:
    """Train on all folds but one, score that one, for each fold; print and write the scores of all images.

    The folds are of whole patients. Every fold is trained for the experiment's number of epochs, and its last epoch is
    scored: no epoch is chosen by the images that it is scored on. Test images are left out. A fold that the same
    experiment has trained before is only scored.

    Args:
        experiment: The experiment; ``data.validate`` is ignored.
        folds: Number of folds.

    Returns:
        The folder with ``scores.csv`` (an image a row), ``summary.json``, and each fold's checkpoint.

    Raises:
        UserError: Data, weights or Trainer arguments cannot be used, or there are fewer patients than folds.
    """
    # a folder for all settings that matter, so that its folds are trained once
    settings = {key: value for key, value in to_dict(experiment).items() if key != "tracking"}
    digest = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    out = mlruns_dir() / "cross_validation" / f"{experiment.name}-{folds}-{digest}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "experiment.yaml").write_text(to_yaml(experiment))

    parts = []
    for fold in range(folds):
        datamodule = LungDataModule(experiment, fold=(fold, folds))
        datamodule.setup()
        checkpoint = out / f"fold_{fold}.ckpt"
        if not checkpoint.exists():
            seed_everything(experiment.seed + fold, workers=True, verbose=False)
            _train_fold(experiment, datamodule, checkpoint)
        held_out = datamodule.table[datamodule.table["split"] == "val"]
        parts.append(score_images(load_segmenter(checkpoint), held_out).assign(fold=fold))

    scores = pd.concat(parts, ignore_index=True)
    harmless_table(scores).to_csv(out / "scores.csv", index=False)
    (out / "summary.json").write_text(json.dumps(summarise(scores), indent=2))
    console = Terminal(markup=False)
    console.print(_table(scores, f"{experiment.name}: {folds} folds by patient"))
    console.print(f"scores       {out}", soft_wrap=True)
    return out


def _train_fold(experiment: LungsExperiment, datamodule: LungDataModule, checkpoint: Path) -> None:
    options = WITHOUT_VALIDATION | {"enable_checkpointing": False}
    trainer = make_trainer(experiment.trainer | options, [], checkpoint.parent)
    with explain_refusals():
        trainer.fit(LungUNet(experiment), datamodule=datamodule)
    with replace_file(checkpoint) as new:
        trainer.save_checkpoint(new, weights_only=True)


class MaskOptions(NamedTuple):
    """How the masks of a folder are named and drawn.

    Attributes:
        suffix: What a mask's stem has behind its image's.
        levels: ``{lungs: [1, 2], heart: 3}`` in YAML; None: masks have two levels.
        hearts: A folder of heart masks, named as the lung masks are.
        drawn: ``in`` or ``out``, see :class:`~experiments.lungs.masks.Masks`.
    """

    suffix: str = ""
    levels: str | None = None
    hearts: Path | None = None
    drawn: str = "in"


def score_folder(
    segmenter: str | Path, images: Path, masks: Sequence[Path], options: MaskOptions, out: Path | None = None
) -> pd.DataFrame:
    """Score a segmenter on any folder of images and its masks, and print the scores of all and of each image.

    Args:
        segmenter: Of :func:`lightning_modules.lungs.segmenters.load_segmenter`.
        images: A folder of images.
        masks: A folder of masks with the images' names; two, of the left and the right lung, are joined.
        options: How the masks are named and drawn.
        out: A CSV file for the table; None: none is written.

    Returns:
        The table of :func:`score_images`.

    Raises:
        UserError: No image has a mask, an image or mask cannot be read, or the file cannot be written.
    """
    # the images that have a mask
    folder = LungFolder(
        root=str(images.parent),
        images=images.name,
        masks=str(masks[0].absolute()),
        other_masks=[str(other.absolute()) for other in masks[1:]],
        mask_suffix=options.suffix,
        levels=None if options.levels is None else parse_levels(options.levels, "--levels"),
        hearts=None if options.hearts is None else str(options.hearts.absolute()),
        drawn=options.drawn,
    )
    table = read_lung_folder(images.name, folder)
    Terminal(markup=False).print(f"{len(table)} of {len(list_images(images))} images have a mask", soft_wrap=True)

    # their scores; what cannot be read comes last
    errors: dict[Path, UserError] = {}
    scores = score_images(load_segmenter(segmenter), table, skipped=errors)
    if len(scores):
        Terminal(markup=False).print(_image_table(scores))
        _report(scores, f"{segmenter} on {images}", out)
    refuse_unreadable(errors, len(table))
    return scores


def score_segmenter(
    experiment: LungsExperiment, segmenter: str | Path, split: str = "test", out: Path | None = None
) -> pd.DataFrame:
    """Score a segmenter on a split of a lung experiment's images, and print the scores.

    Args:
        experiment: Its folders are the images and masks.
        segmenter: Of :func:`lightning_modules.lungs.segmenters.load_segmenter`.
        split: ``train``, ``val`` or ``test``.
        out: A CSV file for the table; None: none is written.

    Returns:
        The table of :func:`score_images`.

    Raises:
        UserError: The segmenter or the data cannot be used, or no image is in the split.
    """
    datamodule = LungDataModule(experiment)
    datamodule.read_table()
    rows = datamodule.table[datamodule.table["split"] == split]
    if rows.empty:
        splits = ", ".join(sorted(datamodule.table["split"].unique()))
        raise UserError(f"--split: no image of data.folders is in the split {split!r}; there are {splits}")
    scores = score_images(load_segmenter(segmenter), rows)
    _report(scores, f"{segmenter} on {experiment.name}, {split}", out)
    return scores


def score_images(
    segmenter: Segmenter, table: pd.DataFrame, skipped: dict[Path, UserError] | None = None
) -> pd.DataFrame:
    """Return the Dice of each image at its mask's size.

    Args:
        segmenter: What is scored.
        table: Of a :class:`LungDataModule`.
        skipped: Takes the images that cannot be read, with the reason; None: the first one ends it.

    Returns:
        Columns ``image``, ``patient``, ``source``; ``dice_in`` (lungs with the part behind the heart), ``dice_out``
        (lungs that stop at the heart), ``dice_heart``, each NaN where the truth or the segmenter does not know it;
        ``empty`` (no lung was found) and ``pose``.
    """
    rows = []
    by_path = {Path(str(row.image)): row for row in table.itertuples()}
    for film in segment_files(segmenter, list(by_path), skipped=skipped):
        row = by_path[film.path]
        files = cast("LungFiles", row.truth)
        truth = files.read(film.areas.lungs, str(film.path))
        drawn = resize_areas(film.areas, truth.lungs.shape)
        dices = [_dice_or_nan(in_convention(drawn, heart), in_convention(truth, heart)) for heart in HEARTS]
        dice_heart = _dice_or_nan(drawn.heart, truth.heart)
        rows.append((row.image, row.patient, row.source, *dices, dice_heart, not drawn.lungs.any(), film.pose))
    columns = ["image", "patient", "source", *DICES, "empty", "pose"]
    return pd.DataFrame(rows, columns=columns)


def _dice_or_nan(mask: np.ndarray | None, truth: np.ndarray | None) -> float:
    return np.nan if mask is None or truth is None else dice(mask, truth)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient of two masks: 2 |mask and truth| / (|mask| + |truth|); 1 where both are empty.

    Args:
        mask: (H, W) bool, what was segmented.
        truth: (H, W) bool, what should have been.

    Example:
        >>> dice(np.array([[True, True, True, False]]), np.array([[False, True, True, True]]))  # 2 * 2 / (3 + 3)
        0.6666666666666666
    """
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def summarise(scores: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return for all images and for each folder: numbers, mean Dice with a 95 % interval over patients, the lowest.

    Args:
        scores: Of :func:`score_images`.

    Returns:
        ``all`` and each source -> ``dice_in``, ``dice_out``, ``dice_heart`` as far as they are known -> ``images``,
        ``patients``, ``dice``, ``low``, ``high``, ``lowest``, ``empty`` (masks).
    """
    parts = {"all": scores} | {str(name): rows for name, rows in scores.groupby("source")}
    return {
        name: {column: _summary(rows[rows[column].notna()], column) for column in DICES if rows[column].notna().any()}
        for name, rows in parts.items()
    }


def _summary(scores: pd.DataFrame, column: str) -> dict[str, float]:
    bootstrap, values = PatientBootstrap(scores["patient"].tolist(), 10_000), scores[column].to_numpy()
    mean = bootstrap.estimate(lambda weights: weights @ values / weights.sum(axis=1), whole=1.0)
    return {
        "images": len(scores),
        "patients": bootstrap.n_patients,
        "dice": mean.value,
        "low": mean.low,
        "high": mean.high,
        "lowest": float(values.min()),
        "empty": int(scores["empty"].sum()),
    }


def _report(scores: pd.DataFrame, title: str, out: Path | None) -> None:
    """Print the summary and what looks like no upright frontal film; write the table."""
    console = Terminal(markup=False)
    console.print(_table(scores, title))
    known = scores[scores["pose"].notna()]
    names = [Path(image).name for image in known["image"]]
    for line in pose_lines(dict(zip(names, known["pose"].astype(str), strict=True))):
        console.print(f"Warning: {line}", soft_wrap=True)
    if out is not None:
        try:
            with replace_file(out) as new:
                harmless_table(scores).to_csv(new, index=False)
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
        console.print(f"scores       {out}", soft_wrap=True)


def _table(scores: pd.DataFrame, title: str) -> WholeTable:
    table = WholeTable(title=title, title_justify="left")
    table.add_column("images")
    table.add_column("area")
    for column in ("number", "patients", "mean Dice", "95 % interval", "lowest", "empty"):
        table.add_column(column, justify="right")
    for name, areas in summarise(scores).items():
        for column, row in areas.items():
            interval = f"{row['low']:.3f} - {row['high']:.3f}"
            numbers = str(row["images"]), str(row["patients"]), f"{row['dice']:.3f}", interval
            table.add_row(name, DICES[column], *numbers, f"{row['lowest']:.3f}", str(row["empty"]))
    return table


def _image_table(scores: pd.DataFrame) -> WholeTable:
    """A row for each image, the lowest Dice first."""
    known = [column for column in DICES if scores[column].notna().any()]
    table = WholeTable(title="Dice of each image", title_justify="left")
    table.add_column("image", overflow="fold")
    for column in known:
        table.add_column(DICES[column], justify="right")
    for _, row in scores.sort_values(known[0] if known else "image").iterrows():
        values = ("-" if np.isnan(row[column]) else f"{row[column]:.3f}" for column in known)
        table.add_row(Path(row["image"]).name, *values)
    return table
