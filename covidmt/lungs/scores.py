"""How well lungs are found, image by image: ``covidmt lungs cross-validate`` and ``covidmt lungs score``."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from lightning.pytorch import seed_everything
from rich.console import Console
from rich.table import Table

from covidmt.lungs.segment import segment_files
from covidmt.lungs.train import WITHOUT_VALIDATION
from covidmt.tracking.folders import mlruns_dir
from covidmt.trainer import explain_refusals, make_trainer
from datamodules.images.masks import read_mask
from datamodules.lungs import LungDataModule
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.load import to_dict, to_yaml
from experiments.lungs_schema import LungsExperiment
from lightning_modules.lungs.segmenters import Segmenter, load_segmenter
from lightning_modules.lungs.unet import LungUNet
from metrics.bootstrap import PatientBootstrap


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
    scores.to_csv(out / "scores.csv", index=False)
    (out / "summary.json").write_text(json.dumps(summarise(scores), indent=2))
    console = Console(markup=False)
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


def score_segmenter(experiment: LungsExperiment, segmenter: str | Path, split: str = "test") -> pd.DataFrame:
    """Score a segmenter on a split of a lung experiment's images, and print the scores.

    Args:
        experiment: Its folders are the images and masks.
        segmenter: Of :func:`lightning_modules.lungs.segmenters.load_segmenter`.
        split: ``train``, ``val`` or ``test``.

    Returns:
        The table of :func:`score_images`.

    Raises:
        UserError: The segmenter or the data cannot be used, or no image is in the split.
    """
    datamodule = LungDataModule(experiment)
    datamodule.setup()
    rows = datamodule.table[datamodule.table["split"] == split]
    if rows.empty:
        splits = ", ".join(sorted(datamodule.table["split"].unique()))
        raise UserError(f"--split: no image of data.folders is in the split {split!r}; there are {splits}")
    scores = score_images(load_segmenter(segmenter), rows)
    Console(markup=False).print(_table(scores, f"{segmenter} on {experiment.name}, {split}"))
    return scores


def score_images(segmenter: Segmenter, table: pd.DataFrame) -> pd.DataFrame:
    """Return for each image the ``dice`` of its lungs at its own size, and whether its mask is ``empty``.

    Args:
        segmenter: What is scored.
        table: Of a :class:`LungDataModule`.
    """
    rows = []
    paths = [Path(image) for image in table["image"]]
    for row, (_, mask) in zip(table.itertuples(), segment_files(segmenter, paths), strict=True):
        truth = read_mask(str(row.mask))
        rows.append((row.image, row.patient, row.source, dice(mask, truth), not mask.any()))
    return pd.DataFrame(rows, columns=["image", "patient", "source", "dice", "empty"])


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


def summarise(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return for all images and for each folder: numbers, mean Dice with a 95 % interval over patients, the lowest.

    Args:
        scores: Of :func:`score_images`.

    Returns:
        ``all`` and each source -> ``images``, ``patients``, ``dice``, ``low``, ``high``, ``lowest``, ``empty`` (masks).
    """
    parts = {"all": scores} | {str(name): rows for name, rows in scores.groupby("source")}
    return {name: _summary(rows) for name, rows in parts.items()}


def _summary(scores: pd.DataFrame) -> dict[str, float]:
    bootstrap, values = PatientBootstrap(scores["patient"].tolist(), 10_000), scores["dice"].to_numpy()
    mean = bootstrap.estimate(lambda weights: weights @ values / weights.sum(axis=1))
    return {
        "images": len(scores),
        "patients": bootstrap.n_patients,
        "dice": mean.value,
        "low": mean.low,
        "high": mean.high,
        "lowest": float(values.min()),
        "empty": int(scores["empty"].sum()),
    }


def _table(scores: pd.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("images")
    for column in ("number", "patients", "mean Dice", "95 % interval", "lowest", "empty"):
        table.add_column(column, justify="right")
    for name, row in summarise(scores).items():
        interval = f"{row['low']:.3f} - {row['high']:.3f}"
        numbers = str(row["images"]), str(row["patients"]), f"{row['dice']:.3f}", interval
        table.add_row(name, *numbers, f"{row['lowest']:.3f}", str(row["empty"]))
    return table
