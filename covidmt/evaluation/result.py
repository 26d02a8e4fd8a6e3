"""What an evaluation found, built once and never changed: table, findings, plots, report and files read it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from covidmt.evaluation.answers import Answers
from covidmt.evaluation.networks import Network
from covidmt.evaluation.pair_table import pair_table
from covidmt.evaluation.scores import Curve, ResampledScore, mean_score, pair_scores, score_curves
from covidmt.evaluation.task_scores import task_scores
from covidmt.evaluation.tasks.answers import LabelRows
from covidmt.evaluation.tasks.scores import box_stability, label_stability
from covidmt.tracking.identity import same_but_seed
from datamodules.channels.registry import channel_numbers
from datamodules.checks.counts import class_masks
from datamodules.demo.write import is_made_up
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.decode import DECODER
from datamodules.sources.patients import known_origins, squeeze
from experiments.schema import Experiment
from explain.decision import Decision
from metrics.bootstrap import PatientBootstrap
from metrics.inference.differences import PairedDifference
from metrics.intervals import Estimate
from metrics.paired import flips

_OF_MASKS = ("whole_image", "lung_area", "no_lung")  # scores of the lungs, whatever the network
AS_RECEIVED = "as received"  # in the place of a channel, where the files came through one


@dataclass(frozen=True)
class PairSet:
    """The pairs that all networks are evaluated on.

    Attributes:
        source: The data set's name.
        split: ``test`` or ``val``.
        channel: The simulated channel; :data:`AS_RECEIVED` for files that came through one.
        n: Pairs.
        patients: Patients; an image whose patient is unknown counts as one of its own.
        unknown: Images whose patient is unknown.
        positive: Pairs that have the decision's label.
        masks: Pairs with a lung mask.
        masks_drawn: Of these, pairs whose mask a segmentation network drew.
        made_up: They are drawings of ``covidmt data demo``.
        channel_numbers: Of the simulated channel, see :func:`datamodules.channels.registry.channel_numbers`.
    """

    source: str
    split: str
    channel: str
    n: int
    patients: int
    unknown: int
    positive: int
    masks: int = 0
    masks_drawn: int = 0
    made_up: bool = False
    channel_numbers: str = ""

    @property
    def is_simulated(self) -> bool:
        """Whether the received images were made here."""
        return self.channel != AS_RECEIVED

    @property
    def way(self) -> str:
        """The channel in words.

        Example:
            >>> pairs = PairSet("own", "test", "whatsapp", 9, 8, 0, 1, channel_numbers="side 1600, quality 70")
            >>> pairs.way
            'whatsapp (simulated; side 1600, quality 70)'
        """
        if not self.is_simulated:
            return f"{self.channel} (the files that came through it)"
        return f"{self.channel} (simulated{'; ' if self.channel_numbers else ''}{self.channel_numbers})"

    @property
    def people(self) -> str:
        """The patients in words.

        Example:
            >>> PairSet("own", "test", "whatsapp", n=9, patients=8, unknown=3, positive=1).people
            '5 patients, and 3 images of unknown patients, each counted as one of its own'
        """
        known = self.patients - self.unknown
        texts = [f"{known} patient{'s' if known != 1 else ''}"] if known or not self.unknown else []
        if self.unknown:
            images = f"{self.unknown} image{'s' if self.unknown != 1 else ''}"
            texts.append(f"{images} of unknown patients, each counted as one of its own")
        return ", and ".join(texts)


@dataclass(frozen=True)
class Definitions:
    """The settings under which the scores were computed; see :class:`experiments.schema.Robustness`.

    Attributes:
        label: What is decided.
        threshold: Probability at and above which the decision is positive.
        eta: IOL below which a heat map is out of the lungs.
        region_threshold: Share of the map's maximum at and above which a pixel is in its region.
        decision: The rule of the decision, in words.
        target: Which answer the heat map explains.
        explained: The same in words.
        masks: Where the lung masks are from.
        heart: Their convention, ``in`` or ``out``, see :class:`experiments.lungs.masks.Masks`.
        decoder: How images are decoded and resized.
    """

    label: str
    threshold: float
    eta: float
    region_threshold: float
    decision: str
    target: str
    explained: str
    masks: str
    heart: str
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
    differences: dict[str, PairedDifference] = field(default_factory=dict)
    other_seed: bool = False

    @property
    def name(self) -> str:
        """The network's name."""
        return self.network.name

    def estimate(self, key: str) -> Estimate | None:
        """Return a score's value and interval; None where the network has no such score."""
        score = self.scores.get(key)
        return None if score is None else score.estimate

    def most_frequent(self, name: str) -> float:
        """Return the accuracy of always giving the more frequent answer, on a side or variant."""
        share = float(self.table.dropna(subset=["label", f"p_{name}"])["label"].mean())
        return max(share, 1 - share)

    def flips(self, name: str = "received") -> np.ndarray:
        """Return (N,) 1 where the decision on a side or variant is not that on the original, 0, or NaN."""
        return flips(self.table["positive_original"].to_numpy(), self.table[f"positive_{name}"].to_numpy())

    def disagreements(self, other: RunEvaluation) -> np.ndarray:
        """Return (N,) 1 where another network decides the original differently, 0, or NaN."""
        return flips(self.table["positive_original"].to_numpy(), other.table["positive_original"].to_numpy())


@dataclass(frozen=True)
class Evaluation:
    """Everything that an evaluation found.

    Attributes:
        pairs: What was evaluated on.
        settings: Under which definitions.
        class_by_source: Class -> origin of the images, as far as it is known -> number, of the deciding task's split.
        pairs_by_source: The same of the evaluated pairs: the decision's label, and not that label.
        notes: What a reader must know, a sentence each.
        runs: The networks: the first is evaluated, the others are compared with it.
        history: How the first one's deciding task was trained (:func:`covidmt.tracking.history.training_history`);
            empty where no run tells.
    """

    pairs: PairSet
    settings: Definitions
    class_by_source: dict[str, dict[str, int]]
    pairs_by_source: dict[str, dict[str, int]]
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
    audits: Sequence[dict[str, ResampledScore]] = (),
) -> Evaluation:
    """Score what the networks answered.

    Args:
        networks: The one that is evaluated first.
        answers: Of each network, on the same pairs.
        data: The first network's data.
        resamples: Of the bootstrap.
        notes: What a reader must know.
        history: How the first network was trained.
        audits: Of each network the scores of :mod:`covidmt.evaluation.membership`; none: it was not asked for.
    """
    pair_bootstrap = PatientBootstrap(answers[0].patients, resamples)
    bootstraps = {name: PatientBootstrap(task.patients, resamples) for name, task in answers[0].tasks.items()}
    runs: list[RunEvaluation] = []
    for network, said, audit in zip(networks, answers, audits or [{}] * len(networks), strict=True):
        tasks = {
            name: bootstraps.get(name) or PatientBootstrap(task.patients, resamples)
            for name, task in said.tasks.items()
            if _is_comparable(answers[0], said, name)
        }
        run = _score_run(network, said, pair_bootstrap, tasks)
        run.scores.update(audit)
        runs.append(_beside(runs[0], run, pair_bootstrap) if runs else run)

    return Evaluation(
        pairs=_describe_pairs(answers[0], data),
        settings=_definitions(networks[0].experiment, answers[0].decision, data),
        class_by_source=_class_by_source(networks[0].experiment, data),
        pairs_by_source=_pairs_by_source(answers[0], data, networks[0].experiment.robustness.label),
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
    for name, rows in answers.stability.items():
        if isinstance(rows, LabelRows):
            found = label_stability(rows, answers.decisions[name], settings, pairs.resamples)
        else:
            found = box_stability(rows, settings, pairs.resamples)
        scores |= {f"stability/{name}/{key}": score for key, score in found.items()}
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
        other_seed=same_but_seed(first.network.trained, run.network.trained),
    )


def _describe_pairs(answers: Answers, data: EvaluationDataModule) -> PairSet:
    dataset = data.pair_dataset(data.split)
    received = "received" in data.tables[data.pair_source]
    stems = {name: Path(path).stem for name, path in zip(dataset.ids, dataset.paths, strict=True)}
    unknown = [
        patient.startswith(f"{data.pair_source}:") and squeeze(stems[name]) in squeeze(patient)  # named for its file
        for name, patient in zip(answers.ids, answers.patients, strict=True)
    ]
    channel = data.experiment.data.pairs.channel
    return PairSet(
        source=data.pair_source,
        split=data.split,
        channel=AS_RECEIVED if received else channel,
        channel_numbers="" if received else channel_numbers(channel),
        n=len(answers.ids),
        patients=len(set(answers.patients)),
        unknown=sum(unknown),
        positive=int(np.nansum(answers.labels)),
        masks=sum(data.masks.find(path) is not None for path in dataset.paths),
        masks_drawn=sum(data.masks.find(path) is not None and not data.masks.own.of(path) for path in dataset.paths),
        made_up=any(map(is_made_up, {Path(path).parent for path in dataset.paths})),
    )


def _definitions(experiment: Experiment, decision: Decision, data: EvaluationDataModule) -> Definitions:
    settings = experiment.robustness
    return Definitions(
        label=settings.label,
        threshold=settings.threshold,
        eta=settings.eta,
        region_threshold=settings.region_threshold,
        decision=decision.words,
        target=settings.target.value,
        explained=decision.explained(settings.target),
        masks=data.mask_source,
        heart=data.masks.heart,
        decoder=DECODER,
    )


def _class_by_source(experiment: Experiment, data: EvaluationDataModule) -> dict[str, dict[str, int]]:
    """Return class -> origin -> number of images: does the origin give the class away?"""
    task = experiment.tasks[experiment.robustness.task]
    if task.source not in data.tables:
        return {}
    table = data.tables[task.source]
    table = table[table["split"] == data.split]
    origins = known_origins(table)
    return {
        label: {str(origin): int(count) for origin, count in origins[mask].value_counts().items()}
        for label, mask in class_masks(table, task.labels).items()
    }


def _pairs_by_source(answers: Answers, data: EvaluationDataModule, label: str) -> dict[str, dict[str, int]]:
    """Return class -> origin -> pairs: the decision's label, and not that label."""
    table = data.tables[data.pair_source].drop_duplicates("image").set_index("image")
    dataset = data.pair_dataset(data.split)
    origins = dict(zip(dataset.ids, table["origin"].reindex([str(path) for path in dataset.paths]), strict=True))
    column = known_origins(
        pd.DataFrame({"origin": [origins[name] for name in answers.ids], "patient": answers.patients})
    )
    masks = {label: answers.labels == 1, f"not {label}": answers.labels == 0}
    return {
        name: {str(origin): int(count) for origin, count in column[mask].value_counts().items()}
        for name, mask in masks.items()
        if mask.any()
    }


def score_differences(
    first: Mapping[str, ResampledScore], second: Mapping[str, ResampledScore]
) -> dict[str, PairedDifference]:
    """Return first minus second for every score that both have.

    But for the calibration slope, and for what masks alone decide, so that no two networks differ in it.
    """
    both = [key for key in first if key in second and key.rpartition("/")[2] not in _OF_MASKS]
    found = {key: first[key].minus(second[key]) for key in both}
    return {key: difference for key, difference in found.items() if difference is not None}
