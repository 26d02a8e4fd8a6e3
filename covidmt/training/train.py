"""``covidmt train``: the main job, from an experiment to its table."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from callbacks.history import MetricHistory
from callbacks.overlays import GradCamOverlays
from callbacks.preemption import Preemption
from callbacks.resume import STATE, ResumeCheckpoint
from callbacks.robustness import RobustnessCallback
from covidmt.lungs.masks import prepare_masks
from covidmt.tracking.logger import MlflowSpoolLogger, global_rank, tracked
from covidmt.tracking.provenance import git_tags, log_code, log_datasets
from covidmt.tracking.store import mlruns_dir, without_password
from covidmt.trainer import explain_refusals, make_trainer
from covidmt.training.resume import RunFolder, choose_run, require_checkpoint
from covidmt.training.summary import summary_table
from datamodules.images.decode import DECODER
from datamodules.multitask import MultiTaskDataModule
from experiments.load import to_yaml
from experiments.schema import Experiment, View
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.load import build_module
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.strategies import refuse_sharding


def train(experiment: Experiment, resume: str = "auto", run_id: str | None = None) -> None:
    """Train, test on WaCXR with the best checkpoint, print the table.

    What a person can get wrong is met before the run is created, as far as it can be known then. Broken off at any
    moment and called again, it goes on from ``mlruns/checkpoints/<run id>/last.ckpt`` and ends as if it had not been
    (see `callbacks.resume`); a run whose training was done goes on with its test.

    Args:
        experiment: What to run.
        resume: ``auto``: go on with the newest run of the same settings that did not finish, else start a new one;
            ``never``: start; a run's id: go on with it.
        run_id: An MLflow run that was made for this training: goes on from its checkpoint if there is one and
            ``resume`` is not ``never``, else starts in it.

    Raises:
        UserError: Data, masks, weights, Trainer arguments or the tracking store cannot be used.
        Preempted: SIGTERM or SIGUSR2 came; the training is saved, the run's status is SCHEDULED. On all processes.
    """
    if global_rank() != 0:
        logging.getLogger("covidmt").setLevel(logging.ERROR)  # one process's notes are enough
    if resume not in ("auto", "never"):
        require_checkpoint(resume)
    history = MetricHistory()
    decider = experiment.tasks[experiment.robustness.task]
    monitor = f"val/{experiment.active[0].name}/loss"
    best = ModelCheckpoint(filename="best", monitor=monitor, save_weights_only=True, enable_version_counter=False)
    newest = ResumeCheckpoint(experiment.checkpoint.every_n_steps)
    preemption = Preemption(newest)
    callbacks = [
        newest,
        preemption,
        RobustnessCallback(experiment.robustness, decider),
        GradCamOverlays(experiment.robustness, decider, seed=experiment.data.split_seed),
        LearningRateMonitor(),
        history,
        best,
    ]
    trainer = make_trainer(experiment.trainer, callbacks, mlruns_dir())
    refuse_sharding(trainer)
    datamodule = MultiTaskDataModule(experiment)
    datamodule.setup()
    tested = experiment.data.pairs.test in datamodule.tables  # training can do without WaCXR
    prepare_masks(experiment, datamodule, ["train", "val", "test"] if tested else ["train", "val"])
    run_id = choose_run(experiment, resume, run_id, trainer)
    last = RunFolder(run_id).last if run_id and RunFolder(run_id).last.is_file() else None
    saved = read_checkpoint(last, "covidmt train") if last else {}
    seed_everything(experiment.seed, workers=True, verbose=False)  # after the masks, which may draw numbers
    # Checkpoints are handed on: without the address of the tracking server.
    module = build_module(replace(experiment, tracking=replace(experiment.tracking, uri=None)))
    module.configure_optimizers()  # refuses wrong names and options now

    position = max(saved.get(STATE, {}).get("positions", []), default=0)
    logger = MlflowSpoolLogger(experiment.tracking, run_name=experiment.name, run_id=run_id, resume_at=position)
    folder = RunFolder(str(logger.version))
    with tracked(logger), preemption.listening(trainer):
        newest.folder, best.dirpath = folder.path, str(folder.path)
        _begin(experiment, folder, saved if last else None, resumed=run_id is not None)
        del saved
        trainer.loggers = [logger, *trainer.loggers]
        datamodule.trainer = trainer
        _describe(experiment, logger, module, datamodule)
        with explain_refusals():
            trainer.fit(module, datamodule=datamodule, ckpt_path=last, weights_only=True)
        if tested and (chosen := history.best(monitor)):
            # Test metrics and pictures carry the epoch of the weights that are tested.
            trainer.fit_loop.epoch_progress.current.completed = chosen[0]
            trainer.test(
                module, datamodule=datamodule, ckpt_path=best.best_model_path, weights_only=True, verbose=False
            )
        _finish(experiment, logger, datamodule, history, best, newest)
    if global_rank() == 0:
        folder.finish()


@rank_zero_only
def _begin(experiment: Experiment, folder: RunFolder, saved: dict[str, Any] | None, *, resumed: bool) -> None:
    """Notes that the run is under way; says what is gone on with."""
    folder.begin(experiment)
    if saved:
        print(f"Going on with run {folder.run_id} from step {saved['global_step']} (--resume never starts a new one).")
    elif resumed:
        print(f"Run {folder.run_id} has no checkpoint yet: it begins with its first step.")


@rank_zero_only
def _describe(
    experiment: Experiment, logger: MlflowSpoolLogger, module: MultiTaskModule, datamodule: MultiTaskDataModule
) -> None:
    """What the run is: few flat parameters to compare by (the UI shows all of them everywhere), the rest beside."""
    tasks = [task.name for task in experiment.active]
    view = experiment.data.view
    logger.log_hyperparams(
        {
            "backbone": experiment.model.backbone,
            **({} if view is View.original else {"view": view.value}),
            "tasks": ",".join(tasks),
            "n_tasks": len(tasks),
            "seed": experiment.seed,
            "batch_size": experiment.active[0].batch_size,
            "lr": experiment.optimizer.lr,
            "image_size": experiment.data.image_size,
            "channel": experiment.data.pairs.channel,
            "git_commit": git_tags().get("mlflow.source.git.commit", "none")[:8],
        }
    )
    logger.set_tags(
        {
            "global_batch": str(datamodule.global_batch),
            "map_size": str(module.map_size),
            "split_policy": experiment.data.split_policy.value,
            "decoder": DECODER,
            "mask_source": datamodule.mask_source,
            **({} if view is View.original else {"left_out_without_lungs": _counts(datamodule)}),
        }
    )
    log_code(logger, to_yaml(experiment))
    roots = {name: source.root for name, source in experiment.data.sources.items()}
    log_datasets(logger, datamodule.tables, roots)


@rank_zero_only
def _finish(
    experiment: Experiment,
    logger: MlflowSpoolLogger,
    datamodule: MultiTaskDataModule,
    history: MetricHistory,
    best: ModelCheckpoint,
    newest: ResumeCheckpoint,
) -> None:
    """The best checkpoint as an artifact; the table, and where everything is."""
    chosen = history.best(str(best.monitor))
    if chosen is not None:
        logger.set_tags({"best_epoch": str(chosen[0])})
    if experiment.tracking.log_checkpoint and best.best_model_path:
        logger.log_artifact(best.best_model_path, "checkpoints")
    console = Console(markup=False)
    console.print()
    console.print(summary_table(experiment, history, str(best.monitor)))
    lines = {
        "run": f"{experiment.tracking.run_name or experiment.name}  {logger.version}",
        "best": best.best_model_path,
        "last": str(newest.path),
        **({"left out": f"no lung found: {_counts(datamodule)}"} if datamodule.without_lungs else {}),
        "pictures": "MLflow UI: the run, Model metrics, gradcam/00 ... with a slider over the epochs",
        "MLflow UI": _ui(logger.uri),
    }
    for name, text in lines.items():
        console.print(f"{name:<10} {text}", soft_wrap=True, highlight=False)


def _counts(datamodule: MultiTaskDataModule) -> str:
    return ", ".join(f"{split} {count}" for split, count in datamodule.without_lungs.items()) or "none"


def _ui(uri: str) -> str:
    """How to open the UI of this store."""
    if uri.startswith("http"):
        return without_password(uri)
    own = Path(sys.argv[0])  # in a sweep's job something else
    command = own if own.name == "covidmt" else Path(sys.executable).with_name("covidmt")
    command = "covidmt" if shutil.which("covidmt") else command
    own = f"sqlite:///{mlruns_dir() / 'mlflow.db'}"
    return f"{command} ui" + ("" if uri == own else f" --uri {without_password(uri)}")
