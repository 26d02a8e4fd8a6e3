"""``covidmt train``: the main job, from an experiment to its table."""

from __future__ import annotations

import logging

from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from callbacks.history import MetricHistory
from callbacks.overlays import GradCamOverlays
from callbacks.robustness import RobustnessCallback
from covidmt.logger import MlflowSpoolLogger, tracked
from covidmt.masks import prepare_masks
from covidmt.provenance import git_tags, log_code, log_datasets
from covidmt.summary import summary_table
from covidmt.tracking import mlruns_dir
from covidmt.trainer import make_trainer
from datamodules.decode import DECODER
from datamodules.multitask import MultiTaskDataModule
from experiments.load import to_yaml
from experiments.schema import Experiment
from lightning_modules.multitask import MultiTaskModule


def train(experiment: Experiment) -> None:
    """Train, test on WaCXR with the best checkpoint, print the table.

    Everything that a person can get wrong is met before the run is created, as far as it can be known then.

    Raises:
        UserError: Data, masks, weights, Trainer arguments or the tracking store cannot be used.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        logging.getLogger("covidmt").setLevel(logging.ERROR)  # one process's notes are enough
    seed_everything(experiment.seed, workers=True, verbose=False)
    history = MetricHistory()
    decider = experiment.tasks[experiment.robustness.task]
    checkpoint = ModelCheckpoint(
        filename="best",
        monitor=f"val/{experiment.active[0].name}/loss",
        save_last=True,
        enable_version_counter=False,
    )
    callbacks = [
        RobustnessCallback(experiment.robustness, decider),
        GradCamOverlays(experiment.robustness, decider, seed=experiment.seed),
        LearningRateMonitor(),
        history,
        checkpoint,
    ]
    trainer = make_trainer(experiment.trainer, callbacks, mlruns_dir())
    datamodule = MultiTaskDataModule(experiment)
    datamodule.setup()
    tested = experiment.data.pairs.test in datamodule.tables  # training can do without WaCXR
    prepare_masks(experiment, datamodule, ["val", "test"] if tested else ["val"])
    module = MultiTaskModule(experiment)

    logger = MlflowSpoolLogger(experiment.tracking, run_name=experiment.name)
    with tracked(logger):
        checkpoint.dirpath = str(mlruns_dir() / "checkpoints" / str(logger.version))
        trainer.loggers = [logger, *trainer.loggers]
        datamodule.trainer = trainer
        _describe(experiment, logger, module, datamodule)
        trainer.fit(module, datamodule=datamodule)
        if tested:
            best = checkpoint.best_model_path or None
            trainer.test(module, datamodule=datamodule, ckpt_path=best, weights_only=True, verbose=False)
        _finish(experiment, logger, history, checkpoint)


@rank_zero_only
def _describe(
    experiment: Experiment, logger: MlflowSpoolLogger, module: MultiTaskModule, datamodule: MultiTaskDataModule
) -> None:
    """What the run is: few flat parameters to compare by, the rest as artifacts and inputs."""
    tasks = [task.name for task in experiment.active]
    logger.log_hyperparams(
        {
            "backbone": experiment.model.backbone,
            "tasks": ",".join(tasks),
            "n_tasks": len(tasks),
            "seed": experiment.seed,
            "optimizer": experiment.optimizer.name,
            "lr": experiment.optimizer.lr,
            "image_size": experiment.data.image_size,
            "map_size": module.map_size,
            "global_batch": datamodule.global_batch,
            "split_policy": experiment.data.split_policy.value,
            "channel": experiment.data.pairs.channel,
            "git_commit": git_tags().get("mlflow.source.git.commit", "none"),
            "decoder": DECODER,
            "mask_source": datamodule.mask_source,
        }
    )
    log_code(logger, to_yaml(experiment))
    roots = {name: source.root for name, source in experiment.data.sources.items()}
    log_datasets(logger, datamodule.tables, roots)


@rank_zero_only
def _finish(
    experiment: Experiment, logger: MlflowSpoolLogger, history: MetricHistory, checkpoint: ModelCheckpoint
) -> None:
    """The best checkpoint as an artifact; the table, and where everything is."""
    monitor = str(checkpoint.monitor)
    best = history.best(monitor)
    if best is not None:
        logger.set_tags({"best_epoch": str(best)})
    if experiment.tracking.log_checkpoint and checkpoint.best_model_path:
        logger.log_artifact(checkpoint.best_model_path, "checkpoints")
    console = Console()
    console.print()
    console.print(summary_table(experiment, history, monitor))
    console.print(f"run          {experiment.tracking.run_name or experiment.name}  {logger.version}", soft_wrap=True)
    console.print(f"checkpoints  {checkpoint.best_model_path} (best), {checkpoint.last_model_path}", soft_wrap=True)
    console.print("pictures     MLflow UI -> the run -> Artifacts -> images; the slider runs over epochs")
    uri = "" if experiment.tracking.uri is None else f" --uri {experiment.tracking.uri}"
    console.print(f"open it with covidmt ui{uri}", soft_wrap=True)
