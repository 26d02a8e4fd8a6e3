"""``covidmt train``: the main job in five steps, from an experiment to its table."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from callbacks.history import MetricHistory
from callbacks.overlays import GradCamOverlays
from callbacks.preemption import Preemption
from callbacks.resume import STATE, ResumeCheckpoint
from callbacks.robustness import RobustnessCallback
from covidmt.lungs.masks import prepare_masks
from covidmt.tracking.folders import RunFolder, mlruns_dir
from covidmt.tracking.logger import MlflowSpoolLogger, global_rank, tracked
from covidmt.tracking.provenance import git_tags, log_code, log_datasets
from covidmt.tracking.store import Store
from covidmt.trainer import explain_refusals, make_trainer
from covidmt.training.resume import choose_run, hash_settings, require_checkpoint
from covidmt.training.summary import summary_table
from datamodules.images.decode import DECODER
from datamodules.multitask import MultiTaskDataModule
from experiments.load import to_yaml
from experiments.schema import Experiment, View
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.load import build_module
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.strategies import refuse_sharding

log = logging.getLogger(__name__)


class TrainingCallbacks(NamedTuple):
    """What watches a training, in the order in which it acts."""

    newest: ResumeCheckpoint  # first: what the others do at the same moment is done again after resuming
    preemption: Preemption
    robustness: RobustnessCallback
    overlays: GradCamOverlays
    learning_rate: LearningRateMonitor
    history: MetricHistory  # after all that log
    best: ModelCheckpoint


class StartPoint(NamedTuple):
    """Where a broken-off training resumes.

    Attributes:
        checkpoint: ``last.ckpt`` of its run folder.
        step: Optimizer steps done.
        position: How many events its logger had been given, of all processes the most.
    """

    checkpoint: Path
    step: int
    position: int


@dataclass(frozen=True)
class TrainingJob:
    """All that a training needs, made before its run exists.

    Attributes:
        run_id: The run to log to; None: a new one.
        start: Where to resume; None: at the first step.
    """

    experiment: Experiment
    callbacks: TrainingCallbacks
    trainer: Trainer
    datamodule: MultiTaskDataModule
    module: MultiTaskModule
    run_id: str | None
    start: StartPoint | None


def train(experiment: Experiment, resume: str = "auto", run_id: str | None = None) -> None:
    """Train, test on WaCXR with the best checkpoint, print the table.

    Broken off at any moment and called again, a training resumes from ``mlruns/checkpoints/<run id>/last.ckpt`` and
    ends as if it had not been (see `callbacks.resume`); a run whose training was done resumes with its test.

    Args:
        experiment: What to run.
        resume: ``auto``: resume the newest run of the same settings that did not finish, else start a new one;
            ``never``: start; a run's id: resume it.
        run_id: An MLflow run that was made for this training: resumes from its checkpoint if there is one and
            ``resume`` is not ``never``, else starts in it.

    Raises:
        UserError: Data, masks, weights, Trainer arguments or the tracking store cannot be used.
        Preempted: SIGTERM or SIGUSR2 came; the training is saved, the run's status is SCHEDULED. On all processes.
    """
    # what a person can get wrong is met here, as far as it can be known before a run exists
    log.info("1/5 Preparing Trainer, data, masks and network")
    job = _prepare(experiment, resume, run_id)

    log.info("2/5 Opening the run")
    with _open_run(job) as logger:
        log.info("3/5 Training")
        _fit(job)

        log.info("4/5 Testing with the best checkpoint")
        _test(job)

        log.info("5/5 Logging the checkpoint and printing the table")
        _finish(job, logger)


def _prepare(experiment: Experiment, resume: str, run_id: str | None) -> TrainingJob:
    """Make Trainer, data, masks and network, and choose the run."""
    if global_rank() != 0:
        logging.getLogger("covidmt").setLevel(logging.ERROR)  # one process's notes are enough
    if resume not in ("auto", "never"):
        require_checkpoint(resume)

    # Trainer
    callbacks = _make_callbacks(experiment)
    trainer = make_trainer(experiment.trainer, callbacks, mlruns_dir())
    refuse_sharding(trainer)

    # data and masks
    datamodule = MultiTaskDataModule(experiment)
    datamodule.setup()
    splits = ["train", "val", "test"] if _has_test(experiment, datamodule) else ["train", "val"]
    prepare_masks(experiment, datamodule, splits)

    # the run, and where it resumes
    run_id = choose_run(experiment, resume, run_id, trainer)
    start = _read_start(run_id) if run_id else None

    # the network, without the address of the tracking server: its checkpoints are handed on
    seed_everything(experiment.seed, workers=True, verbose=False)  # after the masks, which may draw numbers
    module = build_module(replace(experiment, tracking=replace(experiment.tracking, uri=None)))
    module.configure_optimizers()  # refuses wrong names and options now
    return TrainingJob(experiment, callbacks, trainer, datamodule, module, run_id, start)


def _make_callbacks(experiment: Experiment) -> TrainingCallbacks:
    task = experiment.tasks[experiment.robustness.task]
    monitor = f"val/{experiment.active[0].name}/loss"
    newest = ResumeCheckpoint(experiment.checkpoint.every_n_steps)
    return TrainingCallbacks(
        newest,
        Preemption(newest),
        RobustnessCallback(experiment.robustness, task),
        GradCamOverlays(experiment.robustness, task, seed=experiment.data.split_seed),
        LearningRateMonitor(),
        MetricHistory(),
        ModelCheckpoint(filename="best", monitor=monitor, save_weights_only=True, enable_version_counter=False),
    )


def _has_test(experiment: Experiment, datamodule: MultiTaskDataModule) -> bool:
    """Return whether the test pairs are there: a training can do without WaCXR."""
    return experiment.data.pairs.test in datamodule.tables


def _read_start(run_id: str) -> StartPoint | None:
    """Return where a run resumes; None where it has no checkpoint yet."""
    last = RunFolder(run_id).last
    if not last.is_file():
        return None
    checkpoint = read_checkpoint(last, "covidmt train")
    positions = checkpoint.get(STATE, {}).get("positions", [])
    return StartPoint(last, checkpoint["global_step"], max(positions, default=0))


@contextmanager
def _open_run(job: TrainingJob) -> Generator[MlflowSpoolLogger]:
    """Track the run and listen to signals inside; mark the run folder as unfinished until the run has ended well."""
    experiment, callbacks = job.experiment, job.callbacks
    position = job.start.position if job.start else 0
    logger = MlflowSpoolLogger(experiment.tracking, run_name=experiment.name, run_id=job.run_id, resume_at=position)
    folder = RunFolder(str(logger.version))

    with tracked(logger), callbacks.preemption.listening(job.trainer):
        callbacks.newest.folder, callbacks.best.dirpath = folder.checkpoints, str(folder.checkpoints)
        _begin_run_folder(job, folder)
        job.trainer.loggers = [logger, *job.trainer.loggers]
        job.datamodule.trainer = job.trainer
        _describe_run(job, logger)
        yield logger

    if global_rank() == 0:
        folder.finish()


def _fit(job: TrainingJob) -> None:
    checkpoint = job.start.checkpoint if job.start else None
    with explain_refusals():
        job.trainer.fit(job.module, datamodule=job.datamodule, ckpt_path=checkpoint, weights_only=True)


def _test(job: TrainingJob) -> None:
    """Test the best epoch's weights, if there are any and the test pairs are there."""
    best = job.callbacks.best
    chosen = job.callbacks.history.best(str(best.monitor))
    if chosen is None or not _has_test(job.experiment, job.datamodule):
        return
    # Test metrics and pictures carry the epoch of the weights that are tested.
    job.trainer.fit_loop.epoch_progress.current.completed = chosen[0]
    job.trainer.test(
        job.module, datamodule=job.datamodule, ckpt_path=best.best_model_path, weights_only=True, verbose=False
    )


@rank_zero_only
def _begin_run_folder(job: TrainingJob, folder: RunFolder) -> None:
    """Mark the run as unfinished; say what is resumed."""
    folder.begin(hash_settings(job.experiment))
    if job.start:
        print(f"Resuming run {folder.run_id} from step {job.start.step} (--resume never starts a new one).")
    elif job.run_id is not None:
        print(f"Run {folder.run_id} has no checkpoint yet: it begins with its first step.")


@rank_zero_only
def _describe_run(job: TrainingJob, logger: MlflowSpoolLogger) -> None:
    """Log a few flat parameters to compare runs by (the UI shows all of them everywhere), the rest beside them."""
    experiment, data = job.experiment, job.experiment.data
    tasks = [task.name for task in experiment.active]
    parameters = {
        "backbone": experiment.model.backbone,
        "tasks": ",".join(tasks),
        "n_tasks": len(tasks),
        "seed": experiment.seed,
        "batch_size": experiment.active[0].batch_size,
        "lr": experiment.optimizer.lr,
        "image_size": data.image_size,
        "channel": data.pairs.channel,
        "git_commit": git_tags().get("mlflow.source.git.commit", "none")[:8],
    }
    tags = {
        "global_batch": str(job.datamodule.global_batch),
        "map_size": str(job.module.map_size),
        "split_policy": data.split_policy.value,
        "decoder": DECODER,
        "mask_source": job.datamodule.mask_source,
    }
    if data.view is not View.original:
        parameters["view"] = data.view.value
        tags["left_out_without_lungs"] = _count_without_lungs(job.datamodule)
    logger.log_hyperparams(parameters)
    logger.set_tags(tags)

    # experiment, code, data
    log_code(logger, to_yaml(experiment))
    log_datasets(logger, job.datamodule.tables, {name: source.folder for name, source in data.sources.items()})


@rank_zero_only
def _finish(job: TrainingJob, logger: MlflowSpoolLogger) -> None:
    """Log the best checkpoint; print the table, and where everything is."""
    experiment, callbacks, best = job.experiment, job.callbacks, job.callbacks.best
    chosen = callbacks.history.best(str(best.monitor))
    if chosen is not None:
        logger.set_tags({"best_epoch": str(chosen[0])})
    if experiment.tracking.log_checkpoint and best.best_model_path:
        logger.log_artifact(best.best_model_path, "checkpoints")

    console = Console(markup=False)
    console.print()
    console.print(summary_table(experiment, callbacks.history, str(best.monitor)))
    lines = {
        "run": f"{experiment.tracking.run_name or experiment.name}  {logger.version}",
        "best": best.best_model_path,
        "last": str(callbacks.newest.path),
    }
    if job.datamodule.without_lungs:
        lines["left out"] = f"no lung found: {_count_without_lungs(job.datamodule)}"
    lines["pictures"] = "MLflow UI: the run, Model metrics, gradcam/00 ... with a slider over the epochs"
    lines["MLflow UI"] = _ui_address(logger.store)
    for name, text in lines.items():
        console.print(f"{name:<10} {text}", soft_wrap=True, highlight=False)


def _count_without_lungs(datamodule: MultiTaskDataModule) -> str:
    return ", ".join(f"{split} {count}" for split, count in datamodule.without_lungs.items()) or "none"


def _ui_address(store: Store) -> str:
    """Return the server's address, or the command that opens the UI of this store."""
    if store.uri.startswith("http"):
        return str(store)
    program = Path(sys.argv[0])  # in a sweep's job something else
    if shutil.which("covidmt"):
        program = Path("covidmt")
    elif program.name != "covidmt":
        program = Path(sys.executable).with_name("covidmt")
    option = "" if store.database == mlruns_dir() / "mlflow.db" else f" --uri {store}"
    return f"{program} ui{option}"
