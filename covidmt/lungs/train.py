"""``covidmt lungs train``: from a lung experiment to a segmenter's checkpoint and Table 2 of paper 001."""

from __future__ import annotations

import csv
from pathlib import Path

from lightning.pytorch import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from callbacks.epochs.history import MetricHistory
from callbacks.epochs.lines import EpochLines
from callbacks.nonfinite import BestCheckpoint
from covidmt.tracking.folders import RunFolder, mlruns_dir
from covidmt.tracking.provenance import log_code, log_datasets
from covidmt.tracking.untracked import RunLogger, open_logger, tracked
from covidmt.trainer import explain_refusals, make_trainer
from datamodules.images.decode import DECODER
from datamodules.lungs import LungDataModule
from experiments.errors import UserError
from experiments.load import to_yaml
from experiments.lungs_schema import LungsExperiment
from experiments.names import Terminal
from experiments.printing.tables import WholeTable
from lightning_modules.lungs.unet import CLASSES, LungUNet

MONITOR = "val/lung/f1"
WITHOUT_VALIDATION = {"limit_val_batches": 0, "num_sanity_val_steps": 0}

_SCORES = ("f1", "jaccard", "precision", "recall", "accuracy")  # columns of Table 2
_PAPER = Path(__file__).parents[1] / "reference" / "lungs_unet.csv"


def train_lungs(experiment: LungsExperiment) -> Path:
    """Train the lung U-Net, test the best epoch, print Table 2 of paper 001.

    The best epoch is that with the highest F1 of the lung class on validation; the last with ``data.validate: false``.

    Returns:
        The best epoch's checkpoint, also printed.

    Raises:
        UserError: Data, weights, Trainer arguments or the tracking store cannot be used.
    """
    # what a person can get wrong is met before the run is created
    seed_everything(experiment.seed, workers=True, verbose=False)
    history = MetricHistory()
    checkpoint = BestCheckpoint(
        filename="lungs",
        monitor=MONITOR if experiment.data.validate else None,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    settings = experiment.trainer if experiment.data.validate else experiment.trainer | WITHOUT_VALIDATION
    lines = EpochLines(history, MONITOR, {MONITOR: "F1 of the lungs {:.3f}"}, highest=True)
    trainer = make_trainer(settings, [history, lines, checkpoint], mlruns_dir())
    datamodule = LungDataModule(experiment)
    datamodule.setup()
    module = LungUNet(experiment)

    # the run
    logger = open_logger(experiment.tracking, run_name=experiment.name)
    with tracked(logger):
        checkpoint.dirpath = str(RunFolder(str(logger.version)).checkpoints)
        trainer.loggers = [logger, *trainer.loggers]
        _describe_run(experiment, logger, datamodule)

        with explain_refusals():
            trainer.fit(module, datamodule=datamodule)
        if not checkpoint.best_model_path:
            raise UserError(
                "trainer: no validation epoch was run, so no checkpoint was chosen; see max_epochs and limits"
            )

        if datamodule.has_test:
            trainer.test(module, datamodule=datamodule, ckpt_path="best", weights_only=True, verbose=False)
        best = Path(checkpoint.best_model_path)
        _finish_run(experiment, logger, history, best)
    logger.require_complete()
    return best


@rank_zero_only
def _describe_run(experiment: LungsExperiment, logger: RunLogger, datamodule: LungDataModule) -> None:
    """Log a few parameters to compare runs by, the experiment, the code, and what the data are."""
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
    log_datasets(logger, tables, {name: folder.folder for name, folder in experiment.data.folders.items()})


@rank_zero_only
def _finish_run(experiment: LungsExperiment, logger: RunLogger, history: MetricHistory, best: Path) -> None:
    """Log the best checkpoint; print the table, and where everything is."""
    if experiment.tracking.log_checkpoint:
        logger.log_artifact(best, "checkpoints")
    best_epoch, scores = history.best(MONITOR, highest=True) or (None, {})
    if best_epoch is not None:
        logger.set_tags({"best_epoch": str(best_epoch)})

    console = Terminal(markup=False)
    console.print()
    which = "last epoch" if best_epoch is None else f"best epoch {best_epoch + 1}"
    console.print(lungs_table(experiment, which, scores, history.test))
    console.print(f"run          {experiment.tracking.run_name or experiment.name}  {logger.version}", soft_wrap=True)
    console.print(f"checkpoint   {best}", soft_wrap=True)


def lungs_table(experiment: LungsExperiment, which: str, val: dict[str, float], test: dict[str, float]) -> WholeTable:
    """Return paper 001's Table 2: a row a data set and class; where a test folder is one of the paper's, its row below.

    Args:
        experiment: Whose run it is.
        which: The epoch, in words.
        val: Metrics of its validation, by their names in MLflow.
        test: Metrics of the test; empty where there was none.
    """
    table = WholeTable(title=f"{experiment.name}: lung segmentation, over pixels; {which}", title_justify="left")
    for column in ("images", "class", *_SCORES):
        table.add_column(column, justify="left" if column in ("images", "class") else "right")

    for split, metrics in (("val", val), ("test", test)):
        for folder in (None, *experiment.data.folders):
            prefix = f"{split}/{folder}" if folder else split
            for label in reversed(CLASSES):
                keys = [*(f"{prefix}/{label}/{score}" for score in _SCORES[:-1]), f"{prefix}/accuracy"]
                if all(key in metrics for key in keys):
                    table.add_row(prefix.replace("/", " "), label, *(f"{metrics[key]:.3f}" for key in keys))
                paper = _paper_row(folder, label) if split == "test" else None
                if paper:
                    table.add_row(f"  paper, {folder}", label, *paper, style="red")
    return table


def _paper_row(folder: str | None, label: str) -> list[str] | None:
    """Return the paper's scores of a data set and class; None where it has none."""
    with _PAPER.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["data_set"], row["class"]) == (folder, label):
                return [row[score] for score in _SCORES]
    return None
