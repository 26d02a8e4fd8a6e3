"""``covidmt pretrain``: from films without labels to a base network's weights file."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from callbacks.epochs.history import MetricHistory
from callbacks.epochs.lines import EpochLines
from covidmt.tracking.folders import RunFolder, mlruns_dir
from covidmt.tracking.provenance import log_code, log_datasets
from covidmt.tracking.untracked import RunLogger, open_logger, tracked
from covidmt.trainer import explain_refusals, make_trainer
from datamodules.images.decode import DECODER
from datamodules.pretraining import PretrainDataModule
from experiments.errors import UserError
from experiments.load import to_yaml
from experiments.pretraining.schema import PretrainExperiment
from lightning_modules.pretraining import ContrastiveModule, write_backbone


def pretrain(experiment: PretrainExperiment) -> Path:
    """Train SimCLR, and write the base network of the last epoch.

    No epoch is chosen: the contrastive loss says little about what the features are worth afterwards, and the running
    statistics that validation uses lag behind in a short training.

    Returns:
        The weights file, for ``model.weights``; also an artifact of the run, and printed.

    Raises:
        UserError: Data, weights, Trainer arguments or the tracking store cannot be used.
    """
    # what a person can get wrong is met before the run is created
    seed_everything(experiment.seed, workers=True, verbose=False)
    history = MetricHistory()
    checkpoint = ModelCheckpoint(filename="contrastive", save_weights_only=True, enable_version_counter=False)
    lines = EpochLines(history, "val/loss", {"val/loss": "validation loss {:.3f}", "val/retrieval": "retrieval {:.3f}"})
    trainer = make_trainer(experiment.trainer, [history, lines, checkpoint], mlruns_dir())
    module = ContrastiveModule(experiment)
    module.configure_optimizers()
    datamodule = PretrainDataModule(experiment)
    datamodule.setup()

    # the run
    logger = open_logger(experiment.tracking, run_name=experiment.name)
    with tracked(logger):
        folder = RunFolder(str(logger.version)).checkpoints
        checkpoint.dirpath = str(folder)
        trainer.loggers = [logger, *trainer.loggers]
        _describe_run(experiment, logger, datamodule)
        with explain_refusals():
            trainer.fit(module, datamodule=datamodule)
        if not trainer.global_step:
            raise UserError("trainer: no step was done, so nothing was learnt; see max_epochs and limits")

        weights = folder / "backbone.pth"
        _finish_run(experiment, logger, history, module, weights)
    logger.require_complete()
    return weights


@rank_zero_only
def _describe_run(experiment: PretrainExperiment, logger: RunLogger, datamodule: PretrainDataModule) -> None:
    """Log a few parameters to compare runs by, the experiment, the code, and what the data are."""
    logger.log_hyperparams(
        {
            "backbone": experiment.model.backbone,
            "seed": experiment.seed,
            "batch_size": experiment.batch_size,
            "lr": experiment.optimizer.lr,
            "image_size": experiment.data.image_size,
            "films": len(datamodule.group.rows("train")),
            "decoder": DECODER,
        }
    )
    log_code(logger, to_yaml(experiment))
    log_datasets(logger, datamodule.tables, {name: source.folder for name, source in experiment.data.sources.items()})


@rank_zero_only
def _finish_run(
    experiment: PretrainExperiment,
    logger: RunLogger,
    history: MetricHistory,
    module: ContrastiveModule,
    path: Path,
) -> None:
    """Write and log the weights; print how well partners are found, and how the file is used."""
    write_backbone(module, path)
    if experiment.tracking.log_checkpoint:
        logger.log_artifact(path, "checkpoints")

    console = Console(markup=False)
    if history.validations:
        epoch, scores = history.validations[-1]
        found = f"{scores['val/retrieval']:.1%} of the validation views find their partner"
        console.print(f"epoch {epoch + 1}: val/loss {scores['val/loss']:.3f}; {found}", highlight=False)
    console.print(f"run         {experiment.tracking.run_name or experiment.name}  {logger.version}", soft_wrap=True)
    console.print(f"weights     {path}", soft_wrap=True, highlight=False)
    console.print(
        f"use it with model.backbone={experiment.model.backbone} model.weights={path}", soft_wrap=True, highlight=False
    )
