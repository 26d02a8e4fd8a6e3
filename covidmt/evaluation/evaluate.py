"""``covidmt evaluate``: every score of a trained network with interval and controls, as table, files and report."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd

from covidmt.evaluation.answers import Answers, collect_answers
from covidmt.evaluation.files import write_files
from covidmt.evaluation.membership import membership_scores
from covidmt.evaluation.networks import RUNS_ON, Network, caution_notes, difference_notes, load_networks, named_store
from covidmt.evaluation.report import write_report
from covidmt.evaluation.result import Evaluation, build_evaluation, task_notes
from covidmt.evaluation.scores import ResampledScore
from covidmt.evaluation.table import print_table
from covidmt.lungs.masks import prepare_masks
from covidmt.tracking.checkpoints import FoundCheckpoint, find_checkpoint
from covidmt.tracking.folders import mlruns_dir
from covidmt.tracking.history import training_history
from covidmt.tracking.logger import global_rank
from covidmt.tracking.records import record_findings
from covidmt.tracking.store import Store
from covidmt.trainer import make_trainer
from datamodules.evaluation import EvaluationDataModule
from experiments.errors import UserError, first_line
from experiments.names import Terminal
from experiments.schema import TaskKind
from lightning_modules.strategies import refuse_sharding
from metrics.paired import SIDES

log = logging.getLogger("covidmt")

QUALITIES = (95, 85, 75, 70, 60, 50, 40, 30, 20, 10, 5)
HEADLINES = [
    *("pi/score", "pi/noise", "pi/logit_change", "membership/advantage", "membership/auroc"),
    *(f"ols/{side}/{name}" for side in SIDES for name in ("score", "shuffled", "mean_iol", "energy")),
]
WRITTEN = ("evaluation.json", "pairs.csv", "report.html", "figures")


def evaluate(
    reference: str,
    overrides: Sequence[str] = (),
    *,
    pairs: str | None = None,
    split: str = "test",
    channels: Sequence[str] = (),
    channel_limit: int = 500,
    draws: int | None = None,
    against: Sequence[str] = (),
    membership: bool = False,
    resamples: int = 2000,
    out: Path | None = None,
) -> Path:
    """Evaluate a run or checkpoint: table, ``evaluation.json``, ``pairs.csv``, ``report.html``; all goes to its run.

    Args:
        reference: A checkpoint, or the id of a run.
        overrides: ``key.path=value`` of the data, robustness, trainer and tracking sections.
        pairs: A source of the experiment, or a folder of ``covidmt pairs make``; None: ``data.pairs``.
        split: ``test``, or ``val``: the validation images through the simulated channel.
        channels: Simulated channels to measure PI through besides; PI over JPEG quality is always measured.
        channel_limit: At most so many originals go through channels and qualities.
        draws: Of each random channel; None: ``data.pairs.draws``.
        against: Other runs or checkpoints, on the same images.
        membership: Attack the network too: does its loss tell which images it was trained on?
        resamples: Number of the bootstrap's resamples.
        out: Folder; None: below ``mlruns/evaluations``.

    Returns:
        The folder.

    Raises:
        UserError: Checkpoints, data, masks or settings cannot be used.
    """
    # a dead server is met before anything is computed
    checkpoint = find_checkpoint(reference, named_store(overrides))
    networks = load_networks([reference, *against], overrides, pairs)
    if networks[0].experiment.tracking.enabled:
        checkpoint.store.prepare()
    if global_rank() != 0:
        log.setLevel(logging.ERROR)

    # every network's answers
    trainer = _make_trainer(networks[0])
    simulated = [*channels, *(f"jpeg:{quality}" for quality in QUALITIES)]
    segmenter_given = any(text.startswith("data.masks.segmenter=") for text in overrides)
    answers: list[Answers | None] = []
    modules: list[EvaluationDataModule] = []
    notes: list[str] = []
    for network in networks:
        data = EvaluationDataModule(network.experiment, split, simulated, channel_limit, draws)
        data.trainer = trainer
        data.setup()
        prepare_masks(network.experiment, data, [split], may_train=segmenter_given, both=True)
        modules.append(data)
        _require_same_pairs(networks[0], modules[0], network, data)
        notes += caution_notes(network, data)
        answers.append(collect_answers(trainer, network.module, data))
        notes += [note for note in data.notes if note not in notes]

    # the first process has them all
    data = modules[0]
    subset = re.sub(r"[^\w.-]+", "_", f"{Path(data.pair_source).name}-{split}")
    place = "-".join([subset, *["against"] * bool(against), *map(_short_name, networks[1:])])
    folder = out or mlruns_dir() / "evaluations" / _folder_name(checkpoint) / place
    complete = [each for each in answers if each is not None]
    if len(complete) < len(answers):
        return folder
    for network, said in zip(networks, complete, strict=True):
        notes += undefined_notes(network, said)

    notes += pair_notes(data)

    # what they are worth
    history, reason = read_history(networks[0], checkpoint.store)
    notes += [
        *difference_notes(networks),
        *_silent_tasks(networks, complete),
        *task_notes(networks, complete),
        *([reason] if reason else []),
    ]
    audits: list[dict[str, ResampledScore]] = []
    for network in networks if membership else ():
        scores, about = membership_scores(network, resamples)
        audits.append(scores)
        notes += about
    evaluation = build_evaluation(
        networks, complete, data, resamples=resamples, notes=notes, history=history, audits=audits
    )
    again = (folder / "report.html").exists()
    write_files(folder, evaluation)
    write_report(folder / "report.html", evaluation, data)
    console = Terminal(markup=False)
    print_table(console, evaluation)
    console.print(f"report      {folder / 'report.html'}", soft_wrap=True, highlight=False)
    if again:
        console.print(
            "            in the place of an earlier one; --out FOLDER would keep both", soft_wrap=True, highlight=False
        )
    where = "nowhere (tracking.enabled=false)"
    if networks[0].experiment.tracking.enabled:
        run_id = _log(folder, evaluation, checkpoint.store, subset, place)
        where = f"run {run_id}, artifacts evaluation/{place}"
    console.print(f"logged to   {where}", soft_wrap=True, highlight=False)
    return folder


def _make_trainer(network: Network) -> L.Trainer:
    """Return a Trainer that runs where the network's experiment says, and writes nothing."""
    runs_on = {key: value for key, value in network.experiment.trainer.items() if key in RUNS_ON}
    quiet = {"enable_checkpointing": False, "enable_model_summary": False}
    trainer = make_trainer(runs_on | quiet, [], mlruns_dir())
    refuse_sharding(trainer)
    return trainer


def _require_same_pairs(
    first: Network, first_data: EvaluationDataModule, network: Network, data: EvaluationDataModule
) -> None:
    """Raise a UserError where a network sees other pairs than the first one."""
    if data.pair_dataset(data.split).ids != first_data.pair_dataset(data.split).ids:
        left_out = "; a data.view leaves out images without lungs" if data.without_lungs else ""
        raise UserError(f"--against {network.name}: its pairs are not those of {first.name}{left_out}; see data.pairs")


def undefined_notes(network: Network, answers: Answers) -> list[str]:
    """Return how many pairs a network gave no number for, if any.

    Raises:
        UserError: It gave none at all: then there is nothing to score.
    """
    original, received = (np.isfinite(answers.probability(answers.logits[side])) for side in SIDES)
    missing, n = int((~(original & received)).sum()), len(answers.ids)
    if missing == n:
        raise UserError(
            f"{network.name}: its network gives no finite number for any of the {n} pairs, so there is nothing to "
            "score; its weights or the precision it runs in (trainer.precision) are broken"
        )
    count = f"{missing} of {n} pairs: {network.name} gives no finite number; they are left out of its scores"
    return [count] if missing else []


def _silent_tasks(networks: Sequence[Network], answers: Sequence[Answers]) -> list[str]:
    """Return which tasks of classes of the user's own have no scores of images."""
    return [
        f"task {name} of {network.name} has no scores here: its class has no method image_scores (docs/extending.md)"
        for network, said in zip(networks, answers, strict=True)
        for name, split in said.tasks.items()
        if network.experiment.tasks[name].kind is TaskKind.custom and not split.scores
    ]


def _folder_name(checkpoint: FoundCheckpoint) -> str:
    """Return the run's id, and the checkpoint's name where it is not the best one."""
    stem = checkpoint.path.stem
    parts = [checkpoint.run_id, "" if checkpoint.run_id and stem == "best" else stem]
    return "-".join(part for part in parts if part)


def pair_notes(data: EvaluationDataModule) -> list[str]:
    """Say on which pairs other tasks are scored, where these came another way than the decision's."""
    pairs = data.pair_dataset(data.split)
    notes = []
    for group in data.pair_groups(data.split):
        if bool(group.pairs.channel) != bool(pairs.channel):
            way = f"through {data.experiment.data.pairs.channel} (simulated)" if group.pairs.channel else "as received"
            notes.append(
                f"the stability of {', '.join(task.name for task in group.tasks)} is that of {len(group.pairs)} pairs "
                f"of {group.source}, {way}: the pairs of {data.pair_source} came another way, so that their PI cannot "
                "be compared with it"
            )
    return notes


def _short_name(network: Network) -> str:
    """Return the first digits of a network's run, or its file's name: a part of a folder's name."""
    return network.run_id[:8] if network.run_id else Path(network.checkpoint or network.name).stem


def read_history(network: Network, store: Store) -> tuple[dict[str, pd.Series], str | None]:
    """Return how a network's deciding task was trained, or why that is not known.

    Args:
        network: The network.
        store: The tracking store.

    Returns:
        See :func:`covidmt.tracking.history.training_history`; and a sentence where it is empty.
    """
    history, why = {}, "it is a checkpoint file of no known run"
    if network.run_id is not None and network.experiment.tracking.enabled:
        from mlflow.exceptions import MlflowException

        why = f"run {network.run_id} has no metric history in {store}"
        try:
            history = training_history(store, network.run_id, network.experiment.robustness.task)
        except MlflowException as error:
            why += f" ({first_line(error)})"
    return history, None if history else f"{network.name}: no curves over the epochs of its training: {why}"


def _log(folder: Path, evaluation: Evaluation, store: Store, subset: str, place: str) -> str:
    """Log the headlines and the files to the network's run, or to a new one where no run is known; return its id.

    MLflow's UI sorts charts by name, and pictures (``gradcam``) come first: so the headlines are no ``evaluation/...``.
    """
    first = evaluation.first
    return record_findings(
        store,
        first.network.run_id,
        {key: first.scores[key].estimate.value for key in HEADLINES if key in first.scores},
        [folder / name for name in WRITTEN],  # --out may be a folder with other things in it
        prefix=f"evaluation/{place}",
        charts=f"robustness/{subset}",
        experiment=first.network.experiment.tracking.experiment,
        run_name=f"evaluate {first.name}",
    )
