"""One pass of a trained network over all that it is evaluated on; its answers are gathered from all processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor

from callbacks.pair_maps import PairMaps
from covidmt.evaluation.perturbations import blacked_out, change_inside, inner_square, white_noise
from datamodules.evaluation import EvaluationDataModule
from datamodules.pairs import ChannelBatch
from experiments.batch import Batch, Pair
from explain.decision import Decision
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
    """

    patients: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    detections: list[dict[str, Tensor]] = field(default_factory=list)
    truths: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Answers:
    """What a network answered: N pairs, M of them through C channels, every task's split.

    Attributes:
        decision: Reads the decision from logits.
        ids: Names of the pairs.
        patients: (N,) ids.
        labels: (N,) 1 / 0 / NaN.
        logits: Side or variant -> (N, labels) float32; NaN where a variant needs lungs and there are none.
        maps: Side -> (N, h, w) float32 raw maps.
        lungs: (N, words) packed lungs, see :func:`metrics.controls.pack`.
        size: Side S of the input.
        channel_rows: (M,) the pairs that went through the channels.
        channel_logits: Channel -> (M, labels).
        tasks: Task -> its split.
    """

    decision: Decision
    ids: list[str]
    patients: np.ndarray
    labels: np.ndarray
    logits: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    lungs: np.ndarray
    size: int
    channel_rows: np.ndarray
    channel_logits: dict[str, np.ndarray]
    tasks: dict[str, TaskAnswers]

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of the decision's label, (n,) float32, of (n, labels) logits."""
        return self.decision.probability(torch.from_numpy(logits)).numpy()


class PairRows(NamedTuple):
    """Answers to a batch of B pairs; the fields are those of :class:`Answers`."""

    ids: list[str]
    logits: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
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

    def test_step(self, batch: Pair | ChannelBatch | Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Answer a batch of pairs, of originals after the channels, or of tasks."""
        if isinstance(batch, Pair):
            rows = self._answer_pairs(batch)
        elif isinstance(batch, ChannelBatch):
            rows = self._answer_channels(batch)
        else:
            rows = self._answer_tasks(batch)
        self.rows[dataloader_idx].append(rows)

    def _answer_pairs(self, pair: Pair) -> PairRows:
        # both sides, with heat maps
        cam = self.maps.explain(self.module, torch.cat([pair.original, pair.received]))
        logits = dict(zip(SIDES, cam.logits.chunk(2), strict=True))
        raw_maps = cam.map.cpu().numpy().reshape(2, len(pair.id), *cam.map.shape[1:])

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
            maps=dict(zip(SIDES, raw_maps, strict=True)),
            lungs=pack(lung),
        )

    def _answer_channels(self, batch: ChannelBatch) -> ChannelRows:
        logits = [self._logits(images) for images in batch.images.unbind(dim=1)]
        return ChannelRows(batch.rows.cpu().numpy(), torch.stack(logits, dim=1).cpu().numpy())

    def _answer_tasks(self, batch: Batch) -> dict[str, TaskRows]:
        maps, rows = self.module.features(batch.images), {}
        for name, share in batch.tasks.items():
            task, targets = self.module.tasks[name], share.targets.cpu().numpy()
            output = task([m[share.rows] for m in maps])
            if not isinstance(output, BoxOutput):
                rows[name] = TaskRows(targets, output.float().cpu().numpy(), [], [])
                continue

            # boxes without a score cannot be ranked
            detections, truths = [], []
            if output.objectness is not None:
                decoded = cast(BoxHead, task.head).decode(output)
                detections = [{key: value.cpu() for key, value in image.items()} for image in decoded]
                truths = [boxes.cpu() for boxes in share.boxes]
            rows[name] = TaskRows(targets, np.empty((len(targets), 0), np.float32), detections, truths)
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

    # the originals after the channels
    channel_rows, channel_logits = np.empty(0, np.int64), {}
    if data.channels:
        channels = cast(ChannelRows, _join_rows(shares, 1))
        by_row = np.argsort(channels.rows)
        channel_rows = np.searchsorted(rows, channels.rows[by_row])
        channel_logits = {name: channels.logits[by_row, index] for index, name in enumerate(data.channels)}

    # the tasks, a loader for each group that has images in the split
    groups = [index for index, group in enumerate(data.groups) if len(group.rows(data.split))]
    tasks: dict[str, TaskAnswers] = {}
    for loader, group in enumerate(groups, 1 + bool(data.channels)):
        tasks |= _join_tasks([share[loader] for share in shares], data.patients(group))

    experiment = module.experiment
    return Answers(
        decision=Decision.of(experiment.tasks[experiment.robustness.task], experiment.robustness),
        ids=[dataset.ids[row] for row in rows],
        patients=np.array(dataset.patients, dtype=np.str_)[rows],
        labels=dataset.labels[rows],
        logits={name: values[order] for name, values in pairs.logits.items()},
        maps={name: values[order] for name, values in pairs.maps.items()},
        lungs=pairs.lungs[order],
        size=dataset.size,
        channel_rows=channel_rows,
        channel_logits=channel_logits,
        tasks={name: tasks[name] for name in module.tasks if name in tasks},
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
        )
        for name, values in joined.items()
    }


def _count_images(share: Sequence[dict[str, TaskRows]]) -> int:
    """Return the images in a process's batches: fewer than its share where ``limit_predict_batches`` cut them."""
    return sum(len(next(iter(batch.values())).targets) for batch in share)
