"""``covidmt evaluate``: every score of a trained network with interval and controls, as table, files and report."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from covidmt.evaluation.answers import collect
from covidmt.evaluation.report import write_report
from covidmt.evaluation.result import Evaluated, build_result, write_files
from covidmt.evaluation.scores import (
    PairScores,
    disagreement,
    pair_table,
    task_scores,
)
from covidmt.evaluation.table import print_table
from covidmt.lungs.masks import prepare_masks, with_local_cache
from covidmt.tracking.checkpoints import FoundCheckpoint, find_checkpoint
from covidmt.tracking.folders import mlruns_dir
from covidmt.tracking.history import training_history
from covidmt.tracking.logger import global_rank
from covidmt.tracking.store import Store
from covidmt.trainer import make_trainer
from datamodules.evaluation import EvaluationDataModule
from datamodules.sources.table import load_tables
from experiments.errors import UserError
from experiments.load import override
from experiments.paths import expand
from experiments.schema import Experiment, Tracking, View
from experiments.source_schema import WacxrSource
from lightning_modules.load import load_module
from lightning_modules.strategies import refuse_sharding
from metrics.bootstrap import PatientBootstrap
from metrics.paired import SIDES

log = logging.getLogger("covidmt")

QUALITIES = (95, 85, 75, 70, 60, 50, 40, 30, 20, 10, 5)
HEADLINES = [
    *("pi/score", "pi/noise", "pi/logit_change"),
    *(f"ols/{side}/{name}" for side in SIDES for name in ("score", "shuffled", "mean_iol", "energy")),
]
# Of the trainer section: what says where and in which precision a network runs.
_RUNS_ON = ("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins", "enable_progress_bar")
_NO_PATIENT = pd.DataFrame({"patient": [], "split": []})
WRITTEN = ("evaluation.json", "pairs.csv", "report.html", "figures")
_SECTIONS = ("data", "robustness", "tracking", "trainer")


def evaluate(
    reference: str,
    overrides: Sequence[str] = (),
    *,
    pairs: str | None = None,
    split: str = "test",
    channels: Sequence[str] = (),
    channel_limit: int = 500,
    against: Sequence[str] = (),
    resamples: int = 2000,
    out: Path | None = None,
) -> Path:
    """Evaluate a run or checkpoint: table, ``evaluation.json``, ``pairs.csv``, ``report.html``; all goes to its run.

    Args:
        reference: A checkpoint, or the id of a run.
        overrides: ``key.path=value`` of the data, robustness, trainer and tracking sections.
        pairs: A source of the experiment, or a folder of ``covidmt pairs make``; None: ``data.pairs``.
        split: ``test``, or ``val``: the validation images through the simulated channel.
        channels: Simulated channels besides; PI over JPEG quality is measured with any choice.
        channel_limit: At most so many originals go through channels and qualities.
        against: Other runs or checkpoints, on the same images.
        resamples: Of the bootstrap.
        out: Folder; None: below ``mlruns/evaluations``.

    Returns:
        The folder.

    Raises:
        UserError: Checkpoints, data, masks or settings cannot be used.
    """
    found = find_checkpoint(reference, _store(overrides))
    found.store.prepare()  # a dead server is met before anything is computed
    if global_rank() != 0:
        log.setLevel(logging.ERROR)
    subjects = _subjects([reference, *against], overrides, pairs)
    first = subjects[0]
    simulated = [*channels, *(f"jpeg:{quality}" for quality in QUALITIES)]
    trainer = make_trainer(
        {key: value for key, value in first.experiment.trainer.items() if key in _RUNS_ON}
        | {"enable_checkpointing": False, "enable_model_summary": False},
        [],
        mlruns_dir(),
    )
    refuse_sharding(trainer)
    notes: list[str] = []
    modules: list[EvaluationDataModule] = []
    segmenter_given = any(text.startswith("data.masks.segmenter=") for text in overrides)
    for subject in subjects:
        data = EvaluationDataModule(subject.experiment, split, simulated, channel_limit)
        modules.append(data)
        data.trainer = trainer
        data.setup()
        prepare_masks(subject.experiment, data, [split], may_train=segmenter_given)
        if data.pair_dataset(split).ids != modules[0].pair_dataset(split).ids:
            left_out = "; a data.view leaves out images without lungs" if data.without_lungs else ""
            raise UserError(
                f"--against {subject.name}: its pairs are not those of {first.name}{left_out}; see data.pairs"
            )
        notes += [*_seen(subject, data), *_other_masks(subject)]
        answers = collect(trainer, subject.module, data)
        if answers is not None:
            subject.answers = answers
        notes += [note for note in data.notes if note not in notes]
    data = modules[0]
    subset = re.sub(r"[^\w.-]+", "_", f"{Path(data.pair_source).name}-{split}")
    folder = out or mlruns_dir() / "evaluations" / _folder_name(found) / subset
    if not trainer.is_global_zero:
        return folder
    notes += _score(subjects, resamples) + _history(first, found.store)
    result = build_result(subjects, data, split, notes)
    write_files(folder, first, result)
    write_report(folder / "report.html", subjects, data, result)
    console = Console(markup=False)
    print_table(console, result)
    console.print(f"report      {folder / 'report.html'}", soft_wrap=True, highlight=False)
    _log(folder, first, found.store, f"evaluation/{subset}", result["runs"][0]["scores"])
    return folder


def _subjects(references: Sequence[str], overrides: Sequence[str], pairs: str | None) -> list[Evaluated]:
    """The networks, all set to the data and definitions of the first."""
    for text in overrides:
        if text.partition("=")[0].partition(".")[0] not in _SECTIONS:
            raise UserError(f"command line: {text!r}: a trained network's evaluation takes {', '.join(_SECTIONS)} only")
    subjects: list[Evaluated] = []
    for reference in references:
        found = find_checkpoint(reference, _store(overrides))
        module = load_module(found.path)
        own = module.experiment
        if subjects:
            shared = subjects[0].experiment
            own = _relocated(own, shared)
            sees = {key: getattr(own.data, key) for key in ("image_size", "crop_top", "view")}
            data = replace(shared.data, **sees, sources={**own.data.sources, **shared.data.sources})
            experiment = override(replace(own, data=data, robustness=shared.robustness), (), reference)
        else:
            data = replace(own.data, masks=with_local_cache(own.data.masks))
            own = override(replace(own, data=data, trainer=_settings(own.trainer)), overrides, reference)
            experiment = _with_pairs(own, pairs)
        module.experiment = experiment
        name = f"{own.name} ({found.run_id[:8] if found.run_id else found.path.name})"
        subjects.append(Evaluated(name, found.run_id, own, experiment, module))
    return subjects


def _settings(trainer: dict[str, Any]) -> dict[str, Any]:
    """A saved trainer section without objects: a checkpoint may come from others, and must not choose what is run."""
    kept = {key: value for key, value in trainer.items() if "class_path" not in str(value)}
    for key in trainer.keys() & set(_RUNS_ON) - kept.keys():
        log.warning(
            "trainer.%s: the checkpoint's own names code to run, which is not done; give it here if needed.", key
        )
    return kept


def _relocated(experiment: Experiment, other: Experiment) -> Experiment:
    """The experiment with its sources where the other one's of the same names are."""
    roots = {name: source.root for name, source in other.data.sources.items()}
    sources = {
        name: replace(source, root=roots.get(name, source.root)) for name, source in experiment.data.sources.items()
    }
    return replace(experiment, data=replace(experiment.data, sources=sources))


def _seen(subject: Evaluated, data: EvaluationDataModule) -> list[str]:
    """A note where patients that are evaluated are in the network's own training or validation split."""
    own = subject.own
    present = {
        name
        for name in {task.source for task in own.active} | {own.data.pairs.val}
        if own.data.sources[name].folder.exists()
    }
    split = pd.concat(
        [table[["patient", "split"]] for table in load_tables(own.data, present).values()] or [_NO_PATIENT]
    )
    notes = []
    evaluated = set(data.pair_dataset(data.split).patients)
    for name, what in {"train": "training", "val": "validation"}.items():
        shared = evaluated & set(split["patient"][split["split"] == name])
        if shared and name != data.split:
            notes.append(
                f"{len(shared)} of the {len(evaluated)} patients of the pairs are in the {what} split of "
                f"{subject.name}: its scores on them flatter it"
            )
    return notes


def _other_masks(subject: Evaluated) -> list[str]:
    """A note where a representation is made of other lungs than the network was trained with."""
    own, here = subject.own.data, subject.experiment.data.masks
    if own.view is View.original or (own.masks.folders, own.masks.segmenter) == (here.folders, here.segmenter):
        return []
    return [
        f"{subject.name}: its data.view={own.view.value} is made of other lung masks here than in its training "
        "(data.masks)"
    ]


def _folder_name(found: FoundCheckpoint) -> str:
    """The run, and the checkpoint where it is not the best one."""
    parts = [part for part in (found.run_id, found.path.stem) if part and not (found.run_id and part == "best")]
    return "-".join(parts)


def _with_pairs(experiment: Experiment, pairs: str | None) -> Experiment:
    """The experiment with other test pairs."""
    sources = experiment.data.sources
    if pairs is None:
        return experiment
    if pairs not in sources:
        root = expand(pairs)
        folders = sorted(path.name for path in root.glob("covid_binary_test_*") if path.is_dir())
        if not folders:
            raise UserError(
                f"--pairs {pairs}: neither a source of the experiment ({', '.join(sources)}) nor a folder with "
                "covid_binary_test and covid_binary_test_<channel>, as `covidmt pairs make` writes them"
            )
        if len(folders) > 1 and WacxrSource.received not in folders:
            raise UserError(f"--pairs {pairs}: several channels ({', '.join(folders)}); link one of them elsewhere")
        received = WacxrSource.received if WacxrSource.received in folders else folders[0]
        sources = {**sources, pairs: WacxrSource(root=pairs, received=received)}
    data = experiment.data
    return replace(experiment, data=replace(data, sources=sources, pairs=replace(data.pairs, test=pairs)))


def _store(overrides: Sequence[str]) -> Store:
    uris = [text.partition("=")[2] for text in overrides if text.startswith("tracking.uri=")]
    return Store.of(Tracking(uri=uris[0] if uris else None))


def _score(subjects: Sequence[Evaluated], resamples: int) -> list[str]:
    """Fill in tables, scores and curves; what cannot be compared is returned as notes."""
    first, notes = subjects[0], []
    pairs = PatientBootstrap(first.answers.patients, resamples)
    tasks = {name: PatientBootstrap(answers.patients, resamples) for name, answers in first.answers.tasks.items()}
    for subject in subjects:
        settings = subject.experiment.robustness
        subject.table = pair_table(subject.answers, settings)
        scored = PairScores(subject.table, subject.answers, settings, pairs)
        subject.scores, subject.curves = scored.scores, scored.curves()
        for name, answers in subject.answers.tasks.items():
            mine = first.answers.tasks.get(name, answers)
            if not np.array_equal(mine.patients, answers.patients):
                notes.append(f"task {name}: {subject.name} is not compared, its images differ")
                continue
            bootstrap = tasks.setdefault(name, PatientBootstrap(answers.patients, resamples))
            found = task_scores(subject.experiment.tasks[name], answers, bootstrap)
            subject.scores |= {f"task/{name}/{key}": score for key, score in found.items()}
        if subject is not first:
            subject.scores["disagreement"] = disagreement(first.answers, subject.answers, pairs)
    return notes


def _history(first: Evaluated, store: Store) -> list[str]:
    """Fill in how the deciding task was trained; why that is not known is returned as a note."""
    from mlflow.exceptions import MlflowException

    why = "it is a checkpoint file of no known run"
    if first.run_id is not None:
        why = f"run {first.run_id} has no metric history in {store}"
        try:
            first.history = training_history(store, first.run_id, first.experiment.robustness.task)
        except MlflowException as error:
            why += f" ({str(error).splitlines()[0]})"
    return [] if first.history else [f"{first.name}: no curves over the epochs of its training: {why}"]


def _log(folder: Path, first: Evaluated, store: Store, place: str, scores: dict[str, Any]) -> None:
    """To the run in MLflow; a checkpoint that no run tells of gets a run of its own."""
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    client, now = store.client, time.time_ns() // 1_000_000
    try:
        run_id = first.run_id
        if run_id is None or not _known(client, run_id):
            experiment_id = store.open_experiment(first.experiment.tracking.experiment)
            run_id = client.create_run(experiment_id, run_name=f"evaluate {first.name}").info.run_id
            client.set_terminated(run_id)
        values = {key: scores[key]["value"] for key in HEADLINES if key in scores}
        metrics = [Metric(f"{place}/{key}", value, now, 0) for key, value in values.items() if np.isfinite(value)]
        client.log_batch(run_id, metrics=metrics)
        for name in WRITTEN:  # --out may be a folder with other things in it
            if (folder / name).exists():
                log_one = client.log_artifacts if (folder / name).is_dir() else client.log_artifact
                log_one(run_id, str(folder / name), f"{place}/{name}" if (folder / name).is_dir() else place)
    except (MlflowException, OSError) as error:
        raise UserError(
            f"the evaluation is complete in {folder}, but could not be logged to {store}: {str(error).splitlines()[0]}"
        ) from error
    Console(markup=False).print(f"logged to   run {run_id}, artifacts {place}", soft_wrap=True, highlight=False)


def _known(client: Any, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False
