"""``covidmt train``: the main job in five steps, from an experiment to its table."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.utilities import rank_zero_only

from callbacks.epochs.history import MetricHistory
from callbacks.epochs.lines import EpochLines, epoch_scores
from callbacks.nonfinite import ADVICE, BestCheckpoint
from callbacks.overlays import GradCamOverlays
from callbacks.preemption import Preemption
from callbacks.resume import STATE, ResumeCheckpoint
from callbacks.robustness import RobustnessCallback
from covidmt.exporting.facts import NO_SHORTCUT, SCORES, SHORTCUTS
from covidmt.lungs.masks import prepare_masks
from covidmt.tracking.charts.cards import AS_TAGS, card_parameters, flat_parameters
from covidmt.tracking.folders import RunFolder, mlruns_dir, remove_leftovers
from covidmt.tracking.logger import global_rank
from covidmt.tracking.provenance import file_digest, library_versions, log_code, log_datasets
from covidmt.tracking.records import NOTE
from covidmt.tracking.store import Store
from covidmt.tracking.untracked import RunLogger, open_logger, tracked
from covidmt.trainer import explain_refusals, make_trainer
from covidmt.training.blocks import (
    describe_network,
    describe_pairs,
    end_block,
    print_block,
    program,
    start_block,
)
from covidmt.training.data_state import Saved, read_data_state, refuse_changed_data, to_saved
from covidmt.training.description import describe_run, describe_settings
from covidmt.training.growth import describe_budget, keep_finished
from covidmt.training.initial import begin_module
from covidmt.training.model import log_network
from covidmt.training.resume import ChosenRun, choose_run, hash_settings, require_checkpoint
from covidmt.training.summary import one_answer, summary_table
from datamodules.checks.pictures import warn_of_pictures
from datamodules.checks.shortcuts import source_shortcuts
from datamodules.demo.write import is_made_up
from datamodules.images.decode import DECODER
from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.files import is_there
from experiments.load import to_yaml
from experiments.names import Terminal
from experiments.plugins.trust import foreign_classes
from experiments.schema import Entropy, Experiment, Keep, Privacy, View
from experiments.trainer.loudness import is_quiet
from lightning_modules.checkpoint import Checkpoint, read_checkpoint
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.weights import find_weights
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
    lines: EpochLines
    best: BestCheckpoint


class StartPoint(NamedTuple):
    """Where a broken-off training resumes.

    Attributes:
        checkpoint: ``last.ckpt`` of its run folder.
        step: Optimizer steps done.
        position: How many events its logger had been given, of all processes the most.
        data: What its data were; None: that was not saved.
    """

    checkpoint: Path
    step: int
    position: int
    data: Saved | None


@dataclass(frozen=True)
class TrainingJob:
    """All that a training needs, made before its run exists.

    Attributes:
        run: The run to log to, with its lock.
        start: Where to resume; None: at the first step.
    """

    experiment: Experiment
    callbacks: TrainingCallbacks
    trainer: Trainer
    datamodule: MultiTaskDataModule
    module: MultiTaskModule
    run: ChosenRun
    start: StartPoint | None


def train(
    experiment: Experiment, resume: str = "auto", run_id: str | None = None, *, changed_data: bool = False
) -> None:
    """Train, test on WaCXR with the best checkpoint, print the table.

    Broken off at any moment and called again, a training resumes from ``mlruns/checkpoints/<run id>/last.ckpt`` and
    ends as if it had not been (see `callbacks.resume`); a run whose training was done resumes with its test.

    Args:
        experiment: What to run.
        resume: ``auto``: resume the newest run of the same settings that did not finish, else start a new one;
            ``never``: start; a run's id: resume it.
        run_id: An MLflow run that was made for this training: resumes from its checkpoint if there is one and
            ``resume`` is not ``never``, else starts in it.
        changed_data: Resume also on other data than the run was begun with.

    Raises:
        UserError: Data, masks, weights, Trainer arguments or the tracking store cannot be used; or the training is
            done, and something that it logged is lost.
        Preempted: SIGTERM or SIGUSR2 came; the training is saved, the run's status is SCHEDULED. On all processes.
    """
    began = time.monotonic()
    # what a person can get wrong is met here, as far as it can be known before a run exists
    log.info("1/5 Preparing Trainer, data, masks and network")
    job = _prepare(experiment, resume, run_id, changed_data=changed_data)

    log.info("2/5 Opening the run")
    with _open_run(job) as logger:
        log.info("3/5 Training")
        _fit(job)

        log.info("4/5 Testing with the best checkpoint")
        _test(job)

        log.info("5/5 Logging the checkpoint and printing the table")
        _finish(job, logger)
    if global_rank() == 0:
        logger.require_complete()
        run = RunFolder(str(logger.version))
        keep_finished(experiment, run, logger.store)
        others = [type(other).__name__ for other in job.trainer.loggers if other is not logger]
        print_block(end_block(run, logger.store, time.monotonic() - began, others))


def _prepare(experiment: Experiment, resume: str, run_id: str | None, *, changed_data: bool) -> TrainingJob:
    """Make Trainer, data, masks and network, and choose the run."""
    if global_rank() == 0:
        remove_leftovers(mlruns_dir())
    else:
        logging.getLogger("covidmt").setLevel(logging.ERROR)  # one process's notes are enough
    if experiment.tracking.enabled:
        Store.of(experiment.tracking)
    if resume not in ("auto", "never"):
        require_checkpoint(resume)

    # Trainer
    callbacks = _make_callbacks(experiment)
    trainer = make_trainer(experiment.trainer, callbacks, mlruns_dir(), background=True)
    refuse_sharding(trainer)

    # data and masks
    datamodule = MultiTaskDataModule(experiment)
    datamodule.setup()
    _warn_of_batch(experiment, trainer)
    if global_rank() == 0:
        warn_of_pictures(datamodule.tables, experiment.data)
    splits = ["train", "val", "test"] if _has_test(experiment, datamodule) else ["train", "val"]
    prepare_masks(experiment, datamodule, splits, device=trainer.strategy.root_device)

    # the run, and where it resumes
    run = choose_run(experiment, resume, run_id, trainer)
    try:
        start = _read_start(run.run_id) if run.run_id else None
        data_state = read_data_state(experiment.data, datamodule.tables)
        if start and not changed_data:
            refuse_changed_data(start.data, data_state, datamodule.tables, str(run.run_id))
        callbacks.newest.data = to_saved(data_state)

        # the network, without the address of the tracking server: its checkpoints are handed on
        seed_everything(experiment.seed, workers=True, verbose=False)  # after the masks, which may draw numbers
        module = begin_module(experiment, start.checkpoint if start else None)
        module.experiment = replace(module.experiment, tracking=replace(experiment.tracking, uri=None))
        module.configure_optimizers()  # refuses wrong names and options now
    except BaseException:
        run.release()
        raise
    return TrainingJob(experiment, callbacks, trainer, datamodule, module, run, start)


def _warn_of_batch(experiment: Experiment, trainer: Trainer) -> None:
    """Say it where Lightning's choice of all GPUs, and not the experiment, makes the batch a multiple."""
    if trainer.world_size > 1 and "devices" not in experiment.trainer:
        log.warning(
            f"All {trainer.world_size} devices of this machine train: a step holds {trainer.world_size} times the "
            "experiment's batch, and the learning rate is not rescaled. trainer.devices=1 takes one"
        )


def _make_callbacks(experiment: Experiment) -> TrainingCallbacks:
    task = experiment.tasks[experiment.robustness.task]
    monitor = f"val/{experiment.active[0].name}/loss"
    history = MetricHistory()
    newest = ResumeCheckpoint(experiment.checkpoint.every_n_steps, experiment.checkpoint.every_minutes)
    return TrainingCallbacks(
        newest,
        Preemption(newest),
        RobustnessCallback(experiment.robustness, task, experiment.readable),
        GradCamOverlays(experiment.robustness, task, seed=experiment.data.split_seed),
        LearningRateMonitor(),
        history,
        EpochLines(history, monitor, epoch_scores(experiment)),
        BestCheckpoint(filename="best", monitor=monitor, save_weights_only=True, enable_version_counter=False),
    )


def _has_test(experiment: Experiment, datamodule: MultiTaskDataModule) -> bool:
    """Return whether the test pairs are there: a training can do without WaCXR."""
    named = experiment.data.pairs.test_sources
    return bool(named) and named[0] in datamodule.tables


def _read_start(run_id: str) -> StartPoint | None:
    """Return where a run resumes; None where it has no checkpoint yet."""
    last = RunFolder(run_id).last
    if not is_there(last):
        return None
    checkpoint = _read_last(last, run_id)
    state = checkpoint.get(STATE, {})
    return StartPoint(last, checkpoint["global_step"], max(state.get("positions", []), default=0), state.get("data"))


def _read_last(last: Path, run_id: str) -> Checkpoint:
    try:
        return read_checkpoint(last, "covidmt train")
    except UserError as error:
        raise UserError(
            f"{error}; so run {run_id} cannot be resumed from it: put a copy of it back; or remove it, and the same "
            "command trains this run from its first step; or start a new run with --resume never"
        ) from error


@contextmanager
def _open_run(job: TrainingJob) -> Generator[RunLogger]:
    """Track the run and listen to signals inside; mark the run folder as unfinished until the run has ended well."""
    experiment, callbacks = job.experiment, job.callbacks
    position = job.start.position if job.start else 0
    try:
        logger = open_logger(
            experiment.tracking,
            run_name=experiment.name,
            run_id=job.run.run_id,
            resume_at=position,
            lock=job.run.lock,
        )
    except BaseException:
        job.run.release()
        raise
    folder = RunFolder(str(logger.version))

    with tracked(logger), callbacks.preemption.listening(job.trainer):
        callbacks.newest.folder, callbacks.best.dirpath = folder.checkpoints, str(folder.checkpoints)
        _begin_run_folder(job, folder)
        job.trainer.loggers = [logger, *job.trainer.loggers]
        job.datamodule.trainer = job.trainer
        _log_parameters(job, logger)
        if experiment.tracking.enabled:
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
    if chosen is None and any(str(best.monitor) in metrics for _, metrics in job.callbacks.history.validations):
        raise UserError(
            f"the training gave no network: {best.monitor} is a number after no epoch, so there is no best "
            f"checkpoint and no test. {ADVICE.rpartition(';')[0]}"
        )
    if chosen is None or not _has_test(job.experiment, job.datamodule):
        return
    # Test metrics and pictures carry the epoch of the weights that are tested.
    job.trainer.fit_loop.epoch_progress.current.completed = chosen[0]
    job.trainer.test(
        job.module, datamodule=job.datamodule, ckpt_path=best.best_model_path, weights_only=True, verbose=False
    )


@rank_zero_only
def _begin_run_folder(job: TrainingJob, folder: RunFolder) -> None:
    """Mark the run as unfinished; say what is trained, on what, and what is resumed."""
    folder.begin(hash_settings(job.experiment))
    if is_quiet():
        return
    experiment = job.experiment
    lines = {
        "run": f"{experiment.tracking.run_name or experiment.name}  {folder.run_id}",
        **start_block(experiment, job.datamodule, job.trainer),
        "network": describe_network(job.module),
        "disk": describe_budget(experiment, job.module),
    }
    if job.start:
        lines["start"] = f"Resuming run {folder.run_id} from step {job.start.step} (--resume never starts a new one)."
    elif job.run.run_id is not None:
        lines["start"] = f"Run {folder.run_id} has no checkpoint yet: it begins with its first step."
    print_block(lines)


@rank_zero_only
def _log_parameters(job: TrainingJob, ours: RunLogger) -> None:
    """Give every logger a few flat parameters to compare runs by; in MLflow also as tags to filter by."""
    parameters = flat_parameters(job.experiment)
    for logger in job.trainer.loggers:
        logger.log_hyperparams(card_parameters(parameters) if logger is ours else parameters)
    ours.set_tags({name: str(parameters[name]) for name in AS_TAGS})


@rank_zero_only
def _describe_run(job: TrainingJob, logger: RunLogger) -> None:
    """Log what else tells runs apart, the experiment, the code, and what the data are."""
    experiment, data = job.experiment, job.experiment.data
    tags = {
        NOTE: describe_settings(experiment),
        "optimizer": experiment.optimizer.name,
        "epochs": str(job.trainer.max_epochs),
        "precision": str(job.trainer.precision),
        "weighting": experiment.losses.weighting.value,
        "version": version("covidmt"),
        "global_batch": str(job.datamodule.global_batch),
        "map_size": str(job.module.map_size),
        "decision": job.callbacks.robustness.maps.decision.words,
        "target": experiment.robustness.target.value,
        "split_policy": data.split_policy.value,
        "decoder": DECODER,
        "mask_source": job.datamodule.mask_source,
        "processes": str(job.trainer.world_size),
        "versions": library_versions(),
        "mask_heart": data.masks.heart,
        SHORTCUTS: _shortcuts(job),
    }
    if experiment.privacy is not None:
        tags |= {f"privacy_{name}": value for name, value in _privacy_choices(experiment.privacy).items()}
    if any(is_made_up(data.sources[name].folder) for name in job.datamodule.tables):
        tags["made_up"] = "True"  # a report of this run says so
    if experiment.model.weights is not None:
        tags["weights"] = file_digest(find_weights(experiment.model.weights))
    if data.view is not View.original:
        tags["left_out_without_lungs"] = _count_without_lungs(job.datamodule)
    logger.set_tags(tags)

    # experiment, code, data
    log_code(logger, to_yaml(experiment))
    roots = {name: source.folder for name, source in data.sources.items()}
    digests = {name: str(state["table"]) for name, state in (job.callbacks.newest.data or {}).items()}
    log_datasets(logger, job.datamodule.tables, roots, digests)


@rank_zero_only
def _finish(job: TrainingJob, logger: RunLogger) -> None:
    """Log the best checkpoint; print the table, and where everything is."""
    experiment, callbacks, best = job.experiment, job.callbacks, job.callbacks.best
    chosen = callbacks.history.best(str(best.monitor))
    if chosen is not None:
        logger.set_tags({"best_epoch": str(chosen[0])})
    patients = _patients_per_image(job.datamodule, experiment.tasks[experiment.robustness.task].source)
    scores = summary_table(experiment, callbacks.history, str(best.monitor), patients)
    logger.log_text_file(scores.markdown() + "\n", SCORES)
    logger.set_tags({NOTE: describe_run(experiment, scores, str(logger.version))})
    if experiment.tracking.enabled and experiment.tracking.log_checkpoint and best.best_model_path:
        logger.log_artifact(best.best_model_path, "checkpoints")
        path = Path(best.best_model_path)
        log_network(logger, experiment, callbacks.history, path, scores.markdown(), _shortcuts(job))

    console = Terminal(markup=False)
    console.print()
    console.print(scores.rich())
    lines = {
        "run": f"{experiment.tracking.run_name or experiment.name}  {logger.version}",
        "data": describe_pairs(experiment, job.datamodule),
        "best": best.best_model_path,
    }
    if experiment.checkpoint.keep is Keep.all:
        lines["last"] = str(callbacks.newest.path)
    decided = callbacks.robustness.decided
    same = one_answer(decided["test"], experiment.robustness.label) if "test" in decided else ""
    if same:
        lines["caution"] = same
    if job.datamodule.without_lungs:
        lines["left out"] = f"no lung found: {_count_without_lungs(job.datamodule)}"
    if experiment.privacy is not None and experiment.privacy.entropy is Entropy.os:
        lines["privacy"] = "noise and draws came from the operating system: this run cannot be replayed"
    if best.best_model_path:
        command = f"{program()} serve {logger.version}{' --trust' * bool(foreign_classes(experiment))}"
        lines["service"] = f"http://localhost:8000/ takes films while this runs:\n{command}"
    print_block(lines, console)


def _shortcuts(job: TrainingJob) -> str:
    """Return what gives a class away besides the disease, a sentence a line."""
    return "\n".join(source_shortcuts(job.experiment, job.datamodule.tables)) or NO_SHORTCUT


def _privacy_choices(privacy: Privacy) -> dict[str, str]:
    """Return what a private run is told apart by; ``replayable`` says whether the same command gives the same run."""
    return {
        "unit": privacy.unit.value,
        "accountant": privacy.accountant.value,
        "replayable": str(privacy.entropy is Entropy.seed).lower(),
    }


def _patients_per_image(datamodule: MultiTaskDataModule, source: str) -> float:
    """Return patients over images of a source's test split; 1 where it has none."""
    table = datamodule.tables[source]
    table = table[table["split"] == "test"].drop_duplicates("image")
    return table["patient"].nunique() / len(table) if len(table) else 1.0


def _count_without_lungs(datamodule: MultiTaskDataModule) -> str:
    return ", ".join(f"{split} {count}" for split, count in datamodule.without_lungs.items()) or "none"
