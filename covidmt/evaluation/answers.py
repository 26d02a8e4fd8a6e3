"""One pass of a trained network over all that it is evaluated on; what it says is gathered from all processes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

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


@dataclass
class TaskAnswers:
    """A task's split: n images.

    Attributes:
        patients: (n,) ids.
        targets: (n, labels) float32, 1 / 0 / NaN; (n, 0) for boxes.
        logits: (n, labels) float32; (n, 0) for boxes.
        found: For boxes, the detections of each image.
        truths: For boxes, the true boxes of each image, (t, 4).
    """

    patients: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    found: list[dict[str, Tensor]] = field(default_factory=list)
    truths: list[Tensor] = field(default_factory=list)


@dataclass
class Answers:
    """What a network said: N pairs, M of them through C channels, every task's split.

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
        """Of the decision's label, float32."""
        return self.decision.probability(torch.from_numpy(logits)).numpy()


class Collector(L.LightningModule):
    """Asks a network, batch by batch, under the Trainer's precision.

    By ``trainer.test``: its ``predict`` would put samplers of its own into the loaders.

    Args:
        module: The network.

    Attributes:
        rows: Loader -> what was answered to each of this process's batches, on the CPU.
    """

    def __init__(self, module: MultiTaskModule) -> None:
        super().__init__()
        self.module = module
        self.rows: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        experiment = module.experiment
        self.maps = PairMaps(experiment.robustness, experiment.tasks[experiment.robustness.task])
        self.maps.cam.check(module)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Answers a batch of pairs, of originals after the channels, or of tasks."""
        kinds = {Pair: self._pairs, ChannelBatch: self._channels, Batch: self._tasks}
        self.rows[dataloader_idx].append(kinds[type(batch)](batch))

    def _channels(self, batch: ChannelBatch) -> dict[str, Any]:
        logits = [self._logits(images) for images in batch.images.unbind(dim=1)]
        return {"rows": batch.rows.cpu().numpy(), "logits": torch.stack(logits, dim=1).cpu().numpy()}

    def _pairs(self, pair: Pair) -> dict[str, Any]:
        cam = self.maps.explain(self.module, torch.cat([pair.original, pair.received]))
        lung, found = pair.lung, pair.lung.flatten(1).any(dim=1)
        inner = inner_square(lung.shape[-1], BORDER).to(lung.device).expand_as(lung)
        variants = {
            "noise": white_noise(pair.original, pair.received, pair.id),
            "inside": change_inside(pair.original, pair.received, lung),
            "outside": change_inside(pair.original, pair.received, ~lung),
            "lungs_removed": blacked_out(pair.original, lung),
            "border_only": blacked_out(pair.original, inner | lung),
        }
        logits = dict(zip(SIDES, cam.logits.chunk(2), strict=True))
        logits |= {name: self._logits(images) for name, images in variants.items()}
        for name in ("inside", "outside", "lungs_removed", "border_only"):
            logits[name] = torch.where(found[:, None], logits[name], torch.nan)
        return {
            "ids": pair.id,
            "logits": {name: values.cpu().numpy() for name, values in logits.items()},
            "maps": dict(zip(SIDES, cam.map.cpu().numpy().reshape(2, len(pair.id), *cam.map.shape[1:]), strict=True)),
            "lungs": pack(lung),
        }

    def _logits(self, images: Tensor) -> Tensor:
        return self.module.head(self.maps.task)(self.module.features(images)[-1]).float()

    def _tasks(self, batch: Batch) -> dict[str, Any]:
        maps, rows = self.module.features(batch.images), {}
        for name, targets in batch.tasks.items():
            task = self.module.tasks[name]
            output = task([m[targets.rows] for m in maps])
            rows[name] = {"targets": targets.targets.cpu().numpy()}
            if not isinstance(output, BoxOutput):
                rows[name]["logits"] = output.float().cpu().numpy()
            elif output.objectness is not None:  # boxes without a score cannot be ranked
                found = cast(BoxHead, task.head).decode(output)
                rows[name]["found"] = [{key: value.cpu() for key, value in image.items()} for image in found]
                rows[name]["truths"] = [boxes.cpu() for boxes in targets.boxes]
        return rows


def collect(trainer: L.Trainer, module: MultiTaskModule, data: EvaluationDataModule) -> Answers | None:
    """What the network says to all of ``data``: on the first process, None on the others."""
    collector = Collector(module)
    trainer.test(collector, datamodule=data, verbose=False)
    shares = _gather(trainer, collector.rows)
    if not trainer.is_global_zero:
        return None
    pairs, dataset = _concatenate(shares, 0), data.pair_dataset(data.split)
    place = {name: row for row, name in enumerate(dataset.ids)}
    order = np.argsort([place[name] for name in pairs["ids"]])
    rows = np.array([place[name] for name in pairs["ids"]])[order]
    channels = _concatenate(shares, 1) if data.channels else {"rows": np.empty(0, np.int64)}
    by_row = np.argsort(channels["rows"])
    groups = [index for index, group in enumerate(data.groups) if len(group.rows(data.split))]
    tasks = {}
    for loader, group in enumerate(groups, 1 + bool(data.channels)):
        tasks |= _tasks([share[loader] for share in shares], data.patients(group))
    return Answers(
        decision=Decision.of(module.experiment.tasks[module.experiment.robustness.task], module.experiment.robustness),
        ids=[dataset.ids[row] for row in rows],
        patients=np.array(dataset.patients, dtype=np.str_)[rows],
        labels=dataset.labels[rows],
        logits={name: values[order] for name, values in pairs["logits"].items()},
        maps={name: values[order] for name, values in pairs["maps"].items()},
        lungs=pairs["lungs"][order],
        size=dataset.size,
        channel_rows=np.searchsorted(rows, channels["rows"][by_row]),
        channel_logits={name: channels["logits"][by_row, index] for index, name in enumerate(data.channels)},
        tasks={name: tasks[name] for name in module.tasks if name in tasks},
    )


def _gather(trainer: L.Trainer, rows: dict[int, list[Any]]) -> list[dict[int, list[Any]]]:
    """Every process's rows, the first one's first."""
    shares: list[Any] = [rows] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(shares, rows)
    return shares


def _concatenate(shares: list[dict[int, list[Any]]], loader: int) -> dict[str, Any]:
    """The rows of one loader, batch after batch, process after process."""

    def join(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: join([value[key] for value in values]) for key in values[0]}
        return np.concatenate(values) if isinstance(values[0], np.ndarray) else [*chain(*values)]

    return join([batch for share in shares for batch in share[loader]])


def _tasks(shares: list[list[dict[str, Any]]], patients: np.ndarray) -> dict[str, TaskAnswers]:
    """A group's tasks; process r had the rows r, r + world, ... of the group's split."""
    world, n = len(shares), len(patients)
    rows = np.concatenate([np.arange(rank, n, world)[: _count(share)] for rank, share in enumerate(shares)])
    joined, order = _concatenate([{0: share} for share in shares], 0), np.argsort(rows)
    answers = {}
    for name, values in joined.items():
        listed = {key: [values[key][i] for i in order] for key in ("found", "truths") if key in values}
        logits = values.get("logits", np.empty((len(rows), 0), np.float32))
        answers[name] = TaskAnswers(patients[np.sort(rows)], values["targets"][order], logits[order], **listed)
    return answers


def _count(share: list[dict[str, Any]]) -> int:
    """Images in a process's batches: fewer than its share where ``limit_predict_batches`` cut them."""
    return sum(len(next(iter(batch.values()))["targets"]) for batch in share)
