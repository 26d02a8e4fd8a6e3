"""One pass of a trained network over all that it is evaluated on; its answers are gathered from all processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor

from callbacks.pair_maps import PairMaps
from covidmt.evaluation.perturbations import blacked_out, change_inside, inner_square, white_noise
from covidmt.evaluation.tasks.answers import BoxRows, LabelRows, PairAsker, join_rows
from datamodules.evaluation import EvaluationDataModule
from datamodules.pairs import ChannelBatch
from experiments.batch import Batch, Pair, TaskPairs
from experiments.lungs.masks import OTHER_HEART
from experiments.schema import Target, TaskKind
from explain.decision import Decision
from explain.task_decisions import TaskDecisions
from lightning_modules.heads import BoxHead, BoxOutput
from lightning_modules.multitask import MultiTaskModule
from metrics.controls import pack
from metrics.paired import SIDES

# What the network is also asked about each original: see `covidmt.evaluation.perturbations`.
VARIANTS = ("noise", "inside", "outside", "lungs_removed", "border_only")
BORDER = 0.1  # of the side: the frame that `border_only` leaves


@dataclass(frozen=True)
class TaskAnswers:
    """A task's split: n images.

    Attributes:
        patients: (n,) ids.
        targets: (n, labels) float32, 1 / 0 / NaN; (n, 0) for boxes.
        logits: (n, labels) float32; (n, 0) for boxes.
        detections: For boxes, the detections of each image.
        truths: For boxes, the true boxes of each image, (t, 4).
        scores: Of a class of the user's own, its scores of each image, (n,) float32 by name.
    """

    patients: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    detections: list[dict[str, Tensor]] = field(default_factory=list)
    truths: list[Tensor] = field(default_factory=list)
    scores: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What a network answered: N pairs, M of them through C channels, every task's split.

    Attributes:
        decision: Reads the decision from logits.
        ids: Names of the pairs.
        patients: (N,) ids.
        labels: (N,) 1 / 0 / NaN.
        logits: Side or variant -> (N, labels) float32; NaN where a variant needs lungs and there are none.
        maps: Target of an explanation -> side -> (N, h, w) float32 raw maps.
        target: The one that the settings name.
        lungs: (N, words) packed lungs, see :func:`metrics.controls.pack`.
        heart: The convention of ``lungs``, see :class:`~experiments.lungs.masks.Masks`.
        other_lungs: (N, words) the lungs in the other convention; none where they are unknown.
        size: Side S of the input.
        channel_rows: (M,) the pairs that went through the channels.
        channel_logits: Channel -> (M, labels).
        tasks: Task -> its split.
        stability: Task -> answers to the pairs of its own source; of the deciding task to the pairs above.
        decisions: How each classification task decides.
    """

    decision: Decision
    ids: list[str]
    patients: np.ndarray
    labels: np.ndarray
    logits: dict[str, np.ndarray]
    maps: dict[Target, dict[str, np.ndarray]]
    target: Target
    lungs: np.ndarray
    heart: str
    other_lungs: np.ndarray
    size: int
    channel_rows: np.ndarray
    channel_logits: dict[str, np.ndarray]
    tasks: dict[str, TaskAnswers]
    stability: dict[str, LabelRows | BoxRows] = field(default_factory=dict)
    decisions: Mapping[str, TaskDecisions] = field(default_factory=dict)

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of the decision's label, (n,) float32, of (n, labels) logits."""
        return self.decision.probability(torch.from_numpy(logits)).numpy()

    def decided(self, logits: np.ndarray) -> np.ndarray:
        """Return the decision, (n,) float32 1 / 0 / NaN, of (n, labels) logits."""
        return self.decision.decided(torch.from_numpy(logits)).numpy()


class PairRows(NamedTuple):
    """Answers to a batch of B pairs; the fields are those of :class:`Answers`."""

    ids: list[str]
    logits: dict[str, np.ndarray]
    maps: dict[Target, dict[str, np.ndarray]]
    lungs: np.ndarray


class ChannelRows(NamedTuple):
    """Answers to a batch of B originals after C channels.

    Attributes:
        rows: (B,) the pairs.
        logits: (B, C, labels) float32.
    """

    rows: np.ndarray
    logits: np.ndarray


class TaskRows(NamedTuple):
    """Answers to one task's share of a batch; the fields are those of :class:`TaskAnswers`."""

    targets: np.ndarray
    logits: np.ndarray
    detections: list[dict[str, Tensor]]
    truths: list[Tensor]
    scores: dict[str, np.ndarray]


class Collector(L.LightningModule):
    """Ask a network, batch by batch, under the Trainer's precision.

    By ``trainer.test``: its ``predict`` would put samplers of its own into the loaders.

    Args:
        module: The network.

    Attributes:
        rows: Loader -> what was answered to each of this process's batches, on the CPU: :class:`PairRows`,
            :class:`ChannelRows`, or task -> :class:`TaskRows`.
    """

    def __init__(self, module: MultiTaskModule) -> None:
        super().__init__()
        self.module = module
        self.rows: defaultdict[int, list[Any]] = defaultdict(list)
        experiment = module.experiment
        self.maps = PairMaps(experiment.robustness, experiment.tasks[experiment.robustness.task])
        self.maps.cam.check(module)
        self.asker = PairAsker(module)

    def test_step(
        self, batch: Pair | TaskPairs | ChannelBatch | Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Answer a batch of pairs, of originals after the channels, or of tasks."""
        if isinstance(batch, Pair):
            rows = self._answer_pairs(batch)
        elif isinstance(batch, TaskPairs):
            rows = self.asker.ask(batch)
        elif isinstance(batch, ChannelBatch):
            rows = self._answer_channels(batch)
        else:
            rows = self._answer_tasks(batch)
        self.rows[dataloader_idx].append(rows)

    def _answer_pairs(self, pair: Pair) -> PairRows:
        # both sides, with the heat maps of every answer that can be explained
        cams = self.maps.explain_all(self.module, torch.cat([pair.original, pair.received]))
        logits = dict(zip(SIDES, cams[self.maps.target].logits.chunk(2), strict=True))
        halves = {target: cam.map.cpu().numpy().reshape(2, -1, *cam.map.shape[1:]) for target, cam in cams.items()}

        # the originals, changed; where there are no lungs, what needs them is undefined
        lung, has_lung = pair.lung, pair.lung.flatten(1).any(dim=1)
        inner = inner_square(lung.shape[-1], BORDER).to(lung.device).expand_as(lung)
        of_lungs = {
            "inside": change_inside(pair.original, pair.received, lung),
            "outside": change_inside(pair.original, pair.received, ~lung),
            "lungs_removed": blacked_out(pair.original, lung),
            "border_only": blacked_out(pair.original, inner | lung),
        }
        logits["noise"] = self._logits(white_noise(pair.original, pair.received, pair.id))
        for name, images in of_lungs.items():
            logits[name] = torch.where(has_lung[:, None], self._logits(images), torch.nan)

        return PairRows(
            ids=pair.id,
            logits={name: values.cpu().numpy() for name, values in logits.items()},
            maps={target: dict(zip(SIDES, maps, strict=True)) for target, maps in halves.items()},
            lungs=pack(lung),
        )

    def _answer_channels(self, batch: ChannelBatch) -> ChannelRows:
        logits = [self._logits(images) for images in batch.images.unbind(dim=1)]
        return ChannelRows(batch.rows.cpu().numpy(), torch.stack(logits, dim=1).cpu().numpy())

    def _answer_tasks(self, batch: Batch) -> dict[str, TaskRows]:
        maps, rows = self.module.features(batch.images), {}
        for name, share in batch.tasks.items():
            task, targets = self.module.tasks[name], share.targets.cpu().numpy()
            output, none = task([m[share.rows] for m in maps]), np.empty((len(targets), 0), np.float32)
            if task.task.kind is TaskKind.custom:
                scores = task.image_scores(output, share)
                own = {key: value.float().cpu().numpy() for key, value in scores.items()}
                rows[name] = TaskRows(targets, none, [], [], own)
                continue
            if not isinstance(output, BoxOutput):
                rows[name] = TaskRows(targets, output.float().cpu().numpy(), [], [], {})
                continue

            decoded = cast(BoxHead, task.head).decode(output)
            detections = [{key: value.cpu() for key, value in image.items()} for image in decoded]
            truths = [boxes.cpu() for boxes in share.boxes]
            rows[name] = TaskRows(targets, none, detections, truths, {})
        return rows

    def _logits(self, images: Tensor) -> Tensor:
        return self.module.head(self.maps.task)(self.module.features(images)[-1]).float()


def collect_answers(trainer: L.Trainer, module: MultiTaskModule, data: EvaluationDataModule) -> Answers | None:
    """Return the network's answers to all of ``data``: on the first process, None on the others."""
    collector = Collector(module)
    trainer.test(collector, datamodule=data, verbose=False)
    shares = _gather(trainer, collector.rows)
    if not trainer.is_global_zero:
        return None

    # the pairs, in the data set's order
    pairs, dataset = cast(PairRows, _join_rows(shares, 0)), data.pair_dataset(data.split)
    position = {name: row for row, name in enumerate(dataset.ids)}
    order = np.argsort([position[name] for name in pairs.ids])
    rows = np.array([position[name] for name in pairs.ids])[order]

    # the other tasks' pairs, and the deciding task's own
    others = data.has_other_pairs
    stability = join_rows([batch for share in shares for batch in share[1]]) if others else {}
    patients, ids = np.array(dataset.patients, dtype=np.str_)[rows], [dataset.ids[row] for row in rows]
    own = {name: pairs.logits[name][order] for name in (*SIDES, "noise")}
    deciding = LabelRows(ids, patients.tolist(), own, {}, {}, pairs.lungs[:0])
    stability = {module.experiment.robustness.task: deciding} | stability

    # the originals after the channels
    channel_rows, channel_logits = np.empty(0, np.int64), {}
    if data.channels:
        channels = cast(ChannelRows, _join_rows(shares, 1 + others))
        by_row = np.argsort(channels.rows)
        channel_rows = np.searchsorted(rows, channels.rows[by_row])
        channel_logits = {name: channels.logits[by_row, index] for index, name in enumerate(data.channels)}

    # the tasks, a loader for each group that has images in the split
    groups = [index for index, group in enumerate(data.groups) if len(group.rows(data.split))]
    tasks: dict[str, TaskAnswers] = {}
    for loader, group in enumerate(groups, 1 + others + bool(data.channels)):
        tasks |= _join_tasks([share[loader] for share in shares], data.patients(group))

    experiment, heart = module.experiment, data.masks.heart
    other = np.concatenate([pack(torch.from_numpy(lung)[None]) for lung in dataset.lungs_of_all(OTHER_HEART[heart])])
    return Answers(
        decision=Decision.of(experiment.tasks[experiment.robustness.task], experiment.robustness),
        ids=ids,
        patients=patients,
        labels=dataset.labels[rows],
        logits={name: values[order] for name, values in pairs.logits.items()},
        maps={target: {side: maps[order] for side, maps in by_side.items()} for target, by_side in pairs.maps.items()},
        target=experiment.robustness.target,
        lungs=pairs.lungs[order],
        heart=heart,
        other_lungs=other[rows],
        size=dataset.size,
        channel_rows=channel_rows,
        channel_logits=channel_logits,
        tasks={name: tasks[name] for name in module.tasks if name in tasks},
        stability={name: stability[name] for name in module.tasks if name in stability},
        decisions=collector.asker.decisions,
    )


def _gather(trainer: L.Trainer, rows: dict[int, list[Any]]) -> list[dict[int, list[Any]]]:
    """Return every process's rows, the first one's first."""
    shares: list[Any] = [rows] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(shares, rows)
    return shares


def _join_rows(shares: Sequence[dict[int, list[Any]]], loader: int) -> Any:
    """Return the rows of one loader, batch after batch, process after process."""
    return _join([batch for share in shares for batch in share[loader]])


def _join(batches: Sequence[Any]) -> Any:
    """Concatenate batches of one form, whose leaves are arrays and lists."""
    first = batches[0]
    if isinstance(first, dict):
        return {key: _join([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return type(first)(*map(_join, zip(*batches, strict=True)))
    return np.concatenate(batches) if isinstance(first, np.ndarray) else [*chain(*batches)]


def _join_tasks(shares: Sequence[list[dict[str, TaskRows]]], patients: np.ndarray) -> dict[str, TaskAnswers]:
    """Return a group's tasks; process r had the rows r, r + world, ... of the group's split."""
    world, n = len(shares), len(patients)
    rows = np.concatenate([np.arange(rank, n, world)[: _count_images(share)] for rank, share in enumerate(shares)])
    joined, order = _join([batch for share in shares for batch in share]), np.argsort(rows)
    return {
        name: TaskAnswers(
            patients=patients[np.sort(rows)],
            targets=values.targets[order],
            logits=values.logits[order],
            detections=[values.detections[i] for i in order] if values.detections else [],
            truths=[values.truths[i] for i in order] if values.truths else [],
            scores={key: column[order] for key, column in values.scores.items()},
        )
        for name, values in joined.items()
    }


def _count_images(share: Sequence[dict[str, TaskRows]]) -> int:
    """Return the images in a process's batches: fewer than its share where ``limit_predict_batches`` cut them."""
    return sum(len(next(iter(batch.values())).targets) for batch in share)
