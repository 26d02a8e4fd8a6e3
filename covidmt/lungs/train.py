"""``covidmt lungs``: train the lung U-Net, and write masks with it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from callbacks.history import MetricHistory
from covidmt.tracking.logger import MlflowSpoolLogger, tracked
from covidmt.tracking.provenance import log_code, log_datasets
from covidmt.tracking.store import mlruns_dir
from covidmt.trainer import explained, make_trainer
from datamodules.images.decode import DECODER, decode, resize
from datamodules.images.masks import write_mask
from datamodules.lungs import LungDataModule
from datamodules.sources.files import list_images
from experiments.errors import UserError
from experiments.load import to_yaml
from experiments.schema import LungsExperiment
from lightning_modules.lungs.segmenters import Segmenter, load_segmenter
from lightning_modules.lungs.unet import CLASSES, LungUNet

MONITOR = "val/lung/f1"
WITHOUT_VALIDATION = {"limit_val_batches": 0, "num_sanity_val_steps": 0}


def train(experiment: LungsExperiment) -> Path:
    """Train the lung U-Net, test the best epoch, print Table 2 of paper 001.

    The best epoch is that with the highest F1 of the lung class on validation; the last with ``data.validate: false``.

    Returns:
        The best epoch's checkpoint, also printed.

    Raises:
        UserError: Data, weights, Trainer arguments or the tracking store cannot be used.
    """
    seed_everything(experiment.seed, workers=True, verbose=False)
    history = MetricHistory()
    checkpoint = ModelCheckpoint(
        filename="lungs",
        monitor=MONITOR if experiment.data.validate else None,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    arguments = experiment.trainer if experiment.data.validate else experiment.trainer | WITHOUT_VALIDATION
    trainer = make_trainer(arguments, [history, checkpoint], mlruns_dir())
    datamodule = LungDataModule(experiment)
    datamodule.setup()
    module = LungUNet(experiment)
    logger = MlflowSpoolLogger(experiment.tracking, run_name=experiment.name)
    with tracked(logger):
        checkpoint.dirpath = str(mlruns_dir() / "checkpoints" / str(logger.version))
        trainer.loggers = [logger, *trainer.loggers]
        _describe(experiment, logger, datamodule)
        with explained():
            trainer.fit(module, datamodule=datamodule)
        if not checkpoint.best_model_path:
            raise UserError(
                "trainer: no validation epoch was run, so no checkpoint was chosen; see max_epochs and limits"
            )
        if datamodule.has_test:
            trainer.test(module, datamodule=datamodule, ckpt_path="best", weights_only=True, verbose=False)
        best = Path(checkpoint.best_model_path)
        _finish(experiment, logger, history, best)
    return best


def write_masks(segmenter: str | Path, images: Path, out: Path) -> None:
    """Write a lung mask for every image: ``<out>/<image stem>.png``, 0/255, at the image's own size.

    Args:
        segmenter: Of :func:`lightning_modules.lungs.segmenters.load_segmenter`.
        images: An image or a folder of images (PNG, JPEG, DICOM, ...).
        out: Folder, made where it does not exist.

    Raises:
        UserError: The segmenter or an image cannot be read, there is no image, or two images share a stem.
    """
    network = load_segmenter(segmenter)
    paths = sorted(map(Path, list_images(images).values())) if images.is_dir() else [images]
    if not paths:
        raise UserError(f"{images}: no images in this folder")
    stems: dict[str, Path] = {}
    for path in paths:
        if (other := stems.setdefault(path.stem, path)) is not path:
            raise UserError(f"{other} and {path} would both be written to {path.stem}.png; rename one of them")
    if out.resolve() == (images if images.is_dir() else images.parent).resolve():
        raise UserError(f"{out}: masks would lie among the images, and replace those in PNG; name another folder")
    empty = []
    for path, mask in segment_files(network, paths):
        write_mask(out / f"{path.stem}.png", mask)
        if not mask.any():
            empty.append(path.name)
    console = Console(markup=False)
    console.print(f"{len(paths)} masks in {out}", soft_wrap=True)
    if empty:
        console.print(f"no lung found in {len(empty)} of them: {', '.join(empty[:5])}", soft_wrap=True)


def export(checkpoint: Path, out: Path) -> None:
    """Write a trained segmenter in half precision, without its training's settings: a quarter of the size or less.

    Raises:
        UserError: The checkpoint cannot be read, or the file not written.
    """
    try:
        LungUNet.load(checkpoint).export(out)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{out}: cannot be written: {error}") from error


def segment_files(
    segmenter: Segmenter, paths: Sequence[Path], batch_size: int = 16
) -> Iterator[tuple[Path, np.ndarray]]:
    """Each image file with its lungs, (H, W) bool at the image's own size; on the GPU if there is one.

    Raises:
        UserError: An image that cannot be read.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    segmenter.to(device)
    for start in track(range(0, len(paths), batch_size), f"Lung masks of {len(paths)} images"):
        batch = paths[start : start + batch_size]
        greys = [decode(path) for path in batch]
        inputs = torch.from_numpy(np.stack([resize(grey, segmenter.image_size) for grey in greys]))[:, None]
        found = segmenter.segment(inputs.to(device)).cpu().numpy()
        for path, grey, mask in zip(batch, greys, found, strict=True):
            yield path, np.asarray(Image.fromarray(mask).resize(grey.shape[::-1], Image.Resampling.NEAREST))


@rank_zero_only
def _describe(experiment: LungsExperiment, logger: MlflowSpoolLogger, datamodule: LungDataModule) -> None:
    logger.log_hyperparams(
        {
            "encoder": experiment.model.encoder,
            "seed": experiment.seed,
            "optimizer": experiment.optimizer.name,
            "lr": experiment.optimizer.lr,
            "batch_size": experiment.data.batch_size,
            "image_size": experiment.data.image_size,
            "decoder": DECODER,
        }
    )
    log_code(logger, to_yaml(experiment))
    tables = {str(name): rows for name, rows in datamodule.table.groupby("source")}
    log_datasets(logger, tables, {name: folder.root for name, folder in experiment.data.folders.items()})


@rank_zero_only
def _finish(experiment: LungsExperiment, logger: MlflowSpoolLogger, history: MetricHistory, best: Path) -> None:
    """The table, and where everything is."""
    if experiment.tracking.log_checkpoint:
        logger.log_artifact(best, "checkpoints")
    best_epoch, scores = history.best(MONITOR, highest=True) or (None, {})
    if best_epoch is not None:
        logger.set_tags({"best_epoch": str(best_epoch)})
    console = Console(markup=False)
    console.print()
    which = "last epoch" if best_epoch is None else f"best epoch {best_epoch}"
    console.print(_table_2(experiment, which, scores, history.test))
    console.print(f"run          {experiment.tracking.run_name or experiment.name}  {logger.version}", soft_wrap=True)
    console.print(f"checkpoint   {best}", soft_wrap=True)


def _table_2(experiment: LungsExperiment, which: str, val: dict[str, float], test: dict[str, float]) -> Table:
    """Paper 001, Table 2: a row a data set and class; where a test folder is one of the paper's, its row below."""
    table = Table(title=f"{experiment.name}: lung segmentation, over pixels; {which}", title_justify="left")
    scores = ("f1", "jaccard", "precision", "recall")
    for column in ("images", "class", *scores, "accuracy"):
        table.add_column(column, justify="left" if column in ("images", "class") else "right")
    for stage, metrics in (("val", val), ("test", test)):
        for folder in ("", *(f"/{name}" for name in experiment.data.folders)):
            for label in reversed(CLASSES):
                values = [metrics.get(f"{stage}{folder}/{label}/{score}") for score in scores]
                if None not in values:
                    accuracy = metrics[f"{stage}{folder}/accuracy"]
                    table.add_row(stage + folder.replace("/", " "), label, *(f"{v:.3f}" for v in [*values, accuracy]))
                if stage == "test" and (paper := _paper(folder.removeprefix("/"), label)):
                    table.add_row(f"  paper, {folder.removeprefix('/')}", label, *paper, style="red")
    return table


def _paper(folder: str, label: str) -> list[str]:
    """The paper's row: F1, Jaccard, precision, recall, accuracy; empty where it has none."""
    with open(Path(__file__).parents[1] / "reference" / "lungs_unet.csv", newline="") as file:
        for row in csv.DictReader(file):
            if (row["data_set"], row["class"]) == (folder, label):
                return [row[key] for key in ("f1", "jaccard", "precision", "recall", "accuracy")]
    return []
