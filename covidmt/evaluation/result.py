"""What an evaluation found, built once and never changed: table, findings, plots, report and files read it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from covidmt.evaluation.answers import Answers
from covidmt.evaluation.networks import Network, differ_by_seed
from covidmt.evaluation.pair_table import pair_table
from covidmt.evaluation.scores import Curve, ResampledScore, mean_score, pair_scores, score_curves, score_differences
from covidmt.evaluation.task_scores import task_scores
from datamodules.checks.counts import class_masks
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.decode import DECODER
from experiments.schema import Experiment
from metrics.bootstrap import Estimate, PatientBootstrap
from metrics.paired import flips


@dataclass(frozen=True)
class PairSet:
    """The pairs that all networks are evaluated on.

    Attributes:
        source: The data set's name.
        split: ``test`` or ``val``.
        channel: The simulated channel; ``as received`` for files that came through one.
        n: Pairs.
        patients: Patients.
        positive: Pairs that have the decision's label.
    """

    source: str
    split: str
    channel: str
    n: int
    patients: int
    positive: int


@dataclass(frozen=True)
class Definitions:
    """The settings under which the scores were computed; see :class:`experiments.schema.Robustness`.

    Attributes:
        label: What is decided.
        threshold: Probability at and above which the decision is positive.
        eta: IOL below which a heat map is out of the lungs.
        region_threshold: Share of the map's maximum at and above which a pixel is in its region.
        target: What the heat map explains.
        masks: Where the lung masks are from.
        decoder: How images are decoded and resized.
    """

    label: str
    threshold: float
    eta: float
    region_threshold: float
    target: str
    masks: str
    decoder: str


@dataclass(frozen=True)
class RunEvaluation:
    """What was found of one network.

    Attributes:
        network: The network.
        answers: What it answered.
        table: See :func:`covidmt.evaluation.pair_table.pair_table`.
        scores: Key -> score.
        curves: Curve -> its lines.
        differences: Key -> the first network's score minus this one's; empty for the first network.
        other_seed: It is the first network's experiment with another seed.
    """

    network: Network
    answers: Answers
    table: pd.DataFrame
    scores: dict[str, ResampledScore]
    curves: dict[str, Curve]
    differences: dict[str, Estimate] = field(default_factory=dict)
    other_seed: bool = False

    @property
    def name(self) -> str:
        """The network's name."""
        return self.network.name

    def estimate(self, key: str) -> Estimate | None:
        """Return a score's value and interval; None where the network has no such score."""
        score = self.scores.get(key)
        return None if score is None else score.estimate

    def flips(self, column: str = "p_received") -> np.ndarray:
        """Return (N,) 1 where the decision by a column of the table is not that on the original, 0, or NaN."""
        return flips(
            self.table["p_original"].to_numpy(), self.table[column].to_numpy(), self.answers.decision.threshold
        )

    def disagreements(self, other: RunEvaluation) -> np.ndarray:
        """Return (N,) 1 where another network decides the original differently, 0, or NaN."""
        mine, others = self.table["p_original"].to_numpy(), other.table["p_original"].to_numpy()
        return flips(mine, others, self.answers.decision.threshold)


@dataclass(frozen=True)
class Evaluation:
    """Everything that an evaluation found.

    Attributes:
        pairs: What was evaluated on.
        settings: Under which definitions.
        class_by_source: Class -> origin of the images -> number, of the deciding task's split.
        notes: What a reader must know, a sentence each.
        runs: The networks: the first is evaluated, the others are compared with it.
        history: How the first one's deciding task was trained (:func:`covidmt.tracking.history.training_history`);
            empty where no run tells.
    """

    pairs: PairSet
    settings: Definitions
    class_by_source: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    runs: tuple[RunEvaluation, ...]
    history: dict[str, pd.Series] = field(default_factory=dict)

    @property
    def first(self) -> RunEvaluation:
        """The network that is evaluated."""
        return self.runs[0]

    @property
    def others(self) -> tuple[RunEvaluation, ...]:
        """The networks that it is compared with."""
        return self.runs[1:]

    @property
    def score_keys(self) -> list[str]:
        """The keys of all scores that any network has, in order."""
        return list(dict.fromkeys(key for run in self.runs for key in run.scores))


def build_evaluation(
    networks: Sequence[Network],
    answers: Sequence[Answers],
    data: EvaluationDataModule,
    *,
    resamples: int,
    notes: Sequence[str] = (),
    history: Mapping[str, pd.Series] | None = None,
) -> Evaluation:
    """Score what the networks answered.

    Args:
        networks: The one that is evaluated first.
        answers: Of each network, on the same pairs.
        data: The first network's data.
        resamples: Of the bootstrap.
        notes: What a reader must know.
        history: How the first network was trained.
    """
    pair_bootstrap = PatientBootstrap(answers[0].patients, resamples)
    bootstraps = {name: PatientBootstrap(task.patients, resamples) for name, task in answers[0].tasks.items()}
    runs: list[RunEvaluation] = []
    for network, said in zip(networks, answers, strict=True):
        tasks = {
            name: bootstraps.get(name) or PatientBootstrap(task.patients, resamples)
            for name, task in said.tasks.items()
            if _is_comparable(answers[0], said, name)
        }
        run = _score_run(network, said, pair_bootstrap, tasks)
        runs.append(_beside(runs[0], run, pair_bootstrap) if runs else run)

    return Evaluation(
        pairs=_describe_pairs(answers[0], data),
        settings=_definitions(networks[0].experiment, data),
        class_by_source=_class_by_source(networks[0].experiment, data),
        notes=(*notes,),
        runs=(*runs,),
        history=dict(history or {}),
    )


def task_notes(networks: Sequence[Network], answers: Sequence[Answers]) -> list[str]:
    """Return which tasks of which networks are not compared, and why."""
    return [
        f"task {task}: {network.name} is not compared, its images differ"
        for network, said in zip(networks, answers, strict=True)
        for task in said.tasks
        if not _is_comparable(answers[0], said, task)
    ]


def _is_comparable(first: Answers, other: Answers, task: str) -> bool:
    """Return whether the two networks answered the same images of a task, or the first has no such task."""
    return task not in first.tasks or np.array_equal(first.tasks[task].patients, other.tasks[task].patients)


def _score_run(
    network: Network, answers: Answers, pairs: PatientBootstrap, tasks: Mapping[str, PatientBootstrap]
) -> RunEvaluation:
    """Score one network's pairs, and the tasks that there is a bootstrap for."""
    settings = network.experiment.robustness
    table = pair_table(answers, settings)
    scores = pair_scores(table, answers, settings, pairs)
    for name, bootstrap in tasks.items():
        of_task = task_scores(network.experiment.tasks[name], answers.tasks[name], bootstrap)
        scores |= {f"task/{name}/{key}": score for key, score in of_task.items()}
    return RunEvaluation(network, answers, table, scores, score_curves(table, settings, pairs))


def _beside(first: RunEvaluation, run: RunEvaluation, pairs: PatientBootstrap) -> RunEvaluation:
    """Return a run with how it differs from the first one."""
    return RunEvaluation(
        run.network,
        run.answers,
        run.table,
        scores=run.scores | {"disagreement": mean_score(first.disagreements(run), pairs)},
        curves=run.curves,
        differences=score_differences(first.scores, run.scores),
        other_seed=differ_by_seed(first.network.own, run.network.own),
    )


def _describe_pairs(answers: Answers, data: EvaluationDataModule) -> PairSet:
    received = "received" in data.tables[data.pair_source]
    return PairSet(
        source=data.pair_source,
        split=data.split,
        channel="as received" if received else data.experiment.data.pairs.channel,
        n=len(answers.ids),
        patients=len(set(answers.patients)),
        positive=int(np.nansum(answers.labels)),
    )


def _definitions(experiment: Experiment, data: EvaluationDataModule) -> Definitions:
    settings = experiment.robustness
    return Definitions(
        label=settings.label,
        threshold=settings.threshold,
        eta=settings.eta,
        region_threshold=settings.region_threshold,
        target=settings.target.value,
        masks=data.mask_source,
        decoder=DECODER,
    )


def _class_by_source(experiment: Experiment, data: EvaluationDataModule) -> dict[str, dict[str, int]]:
    """Return class -> origin -> number of images: does the origin give the class away?"""
    task = experiment.tasks[experiment.robustness.task]
    if task.source not in data.tables:
        return {}
    table = data.tables[task.source]
    table = table[table["split"] == data.split]
    return {
        label: {str(origin): int(count) for origin, count in table["origin"][mask].value_counts().items()}
        for label, mask in class_masks(table, task.labels).items()
    }
