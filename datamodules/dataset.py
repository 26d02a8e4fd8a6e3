"""Batch groups, and the data set that turns their rows into batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from datamodules.images.augment import MIN_VISIBILITY, seeded, training_transform
from datamodules.images.cache import CachedImages
from datamodules.images.decode import crop_top, decode, resize
from datamodules.images.masks import LungMasks
from datamodules.images.views import show
from datamodules.sampler import BalancedStream, Item, Stream
from datamodules.sources.table import label_columns
from experiments.batch import Batch, TaskBatch
from experiments.errors import UserError
from experiments.load import nearest
from experiments.schema import Augment, Balance, Task, TaskKind, View


@dataclass(frozen=True)
class Group:
    """Tasks that share a batch, and the images of all splits that at least one of them has a label for.

    Arrays only: Python objects would be copied into every worker process, one reference count after the other.

    Attributes:
        name: The source's name; for a task that draws its own batches source/task.
        tasks: The tasks, in the order of the active ones.
        images: (n,) bytes, the files' paths.
        splits: (n,) str, train, val or test.
        targets: Task name -> (n, number of labels) float32 as in :class:`~experiments.batch.TaskBatch`.
        boxes: (m, 4) float32 xyxy in source pixels, the boxes of all images.
        offsets: (n + 1,) int64, image i has the boxes ``offsets[i]:offsets[i + 1]``.
    """

    name: str
    tasks: list[Task]
    images: np.ndarray
    splits: np.ndarray
    targets: dict[str, np.ndarray]
    boxes: np.ndarray
    offsets: np.ndarray

    @property
    def batch_size(self) -> int:
        """Images a step takes, per process."""
        return self.tasks[0].batch_size

    def rows(self, split: str) -> np.ndarray:
        """The rows of a split, int64."""
        return np.flatnonzero(self.splits == split)

    def stream(self, seed: int) -> Stream | BalancedStream:
        """The endless stream of training rows: plain, up-sampled or class-balanced as the task says.

        Raises:
            UserError: A label that no training image has.
        """
        rows = self.rows("train")
        classes = {task.name: self._classes(task, rows) for task in self.tasks}
        task = self.tasks[0]
        by_label = classes[task.name]
        if task.balance is Balance.classes:
            return BalancedStream(self.name, seed, [some for some in by_label.values() if len(some)])
        return Stream(self.name, seed, rows, [(by_label[a], len(by_label[b])) for a, b in task.upsample.items()])

    def _classes(self, task: Task, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Label -> training rows that have it; "" -> those known to have none of the labels."""
        if task.kind is TaskKind.boxes:
            values, labels = (np.diff(self.offsets)[rows] > 0)[:, None], ["a box"]
        else:
            values, labels = self.targets[task.name][rows], task.labels
        classes = {label: rows[values[:, i] == 1] for i, label in enumerate(labels)}
        for label, some in classes.items():
            if not len(some):
                raise UserError(
                    f"tasks.{task.name}: no training image of source '{task.source}' has {label}; drop the label or "
                    "the task, or see `covidmt data check` for where the images went"
                )
        return classes | {"": rows[(values == 0).all(axis=1)]}


def batch_groups(tasks: Sequence[Task], tables: dict[str, pd.DataFrame], split: str = "val") -> list[Group]:
    """The active tasks by the batches they draw: one group a source, and one a task with ``share_batch: false``.

    Args:
        tasks: The active tasks; the group of the first one comes first.
        tables: Source name -> sample table.
        split: The split that must have labelled images: a training is nothing without validation.

    Raises:
        UserError: A label or boxes that the source does not have; no labelled image in the split; batch sizes that
            differ within a group; a task of a shared group that asks for ``balance`` or ``upsample``.
    """
    shares: dict[str, list[Task]] = {}
    for task in tasks:
        shares.setdefault(task.source if task.share_batch else f"{task.source}/{task.name}", []).append(task)
    return [_group(name, members, tables, split) for name, members in shares.items()]


def _group(name: str, tasks: list[Task], tables: dict[str, pd.DataFrame], split: str) -> Group:
    sizes = {task.name: task.batch_size for task in tasks}
    if len(set(sizes.values())) > 1:
        raise UserError(
            f"tasks of source '{tasks[0].source}' share one batch, but their batch_size differs: "
            f"{', '.join(f'{task} {size}' for task, size in sizes.items())}; make them equal or set share_batch: false"
        )
    for task in tasks if len(tasks) > 1 else []:
        if task.upsample or task.balance is not Balance.none:
            raise UserError(
                f"tasks.{task.name}: balance and upsample need batches of the task's own; set "
                f"tasks.{task.name}.share_batch: false, or drop them"
            )
    table = tables[tasks[0].source]
    targets = {task.name: _targets(task, table) for task in tasks}
    known = np.zeros(len(table), bool)
    for task in tasks:
        known |= True if task.kind is TaskKind.boxes else ~np.isnan(targets[task.name]).all(axis=1)
    table = table[known]
    if not (table["split"] == split).any():
        raise UserError(
            f"tasks.{', '.join(task.name for task in tasks)}: source '{tasks[0].source}' has no labelled image in the "
            f"{split} split; see data.val_fraction, or `covidmt data check` for where the images went"
        )
    boxes = [np.empty((0, 4), np.float32)]
    if any(task.kind is TaskKind.boxes for task in tasks):
        boxes += [np.asarray(some, np.float32).reshape(-1, 4) for some in table["boxes"]]
    counts = [len(some) for some in boxes[1:]] or [0] * len(table)
    return Group(
        name=name,
        tasks=tasks,
        images=np.array([os.fsencode(path) for path in table["image"]], dtype=np.bytes_),
        splits=table["split"].to_numpy(dtype=np.str_),
        targets={task: values[known] for task, values in targets.items()},
        boxes=np.concatenate(boxes),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _targets(task: Task, table: pd.DataFrame) -> np.ndarray:
    """(n, number of labels) float32; a multiclass row is one-hot, or NaN where no label of the task is 1."""
    where = f"tasks.{task.name}"
    if task.kind is TaskKind.boxes:
        if "boxes" not in table:
            raise UserError(f"{where}: source '{task.source}' has no boxes; choose another source or kind")
        return np.empty((len(table), 0), np.float32)
    for label in task.labels:
        if label not in table:
            labels = nearest(label, label_columns(table))
            raise UserError(f"{where}.labels: source '{task.source}' has no label '{label}'{labels}")
    values = table[task.labels].to_numpy(np.float32)
    if task.kind is TaskKind.multiclass:
        ones = (values == 1).sum(axis=1)
        if (ones > 1).any():
            raise UserError(
                f"{where}: kind multiclass, but '{table['image'].iloc[int(ones.argmax())]}' has several of the labels; "
                "use kind: multilabel"
            )
        values = np.where(ones[:, None] == 1, values == 1, np.nan).astype(np.float32)
    return values


def outside(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(n,) bool: which of the boxes (n, 4), xyxy, leave the image by more than 2 % of its side, a rounding apart."""
    corners, size = boxes.reshape(-1, 2, 2), np.array([width, height])
    return np.asarray(((corners < -0.02 * size - 1) | (corners > 1.02 * size + 1)).any(axis=(1, 2)))


class Sample(NamedTuple):
    """One image before collation: (S, S) uint8, and its boxes, (n, 4) float32 xyxy in input pixels."""

    item: Item
    image: np.ndarray
    boxes: np.ndarray


class ImageDataset(Dataset[Sample]):
    """Images of batch groups at input size, asked for by :class:`~datamodules.sampler.Item`.

    Args:
        tasks: The active tasks: their order is that of :attr:`~experiments.batch.Batch.tasks`.
        groups: Their batch groups.
        size: Side S of the input.
        augment: Augmentation of the items that bring a seed.
        cached: Each group's images in the cache, cut at the top; None: they are decoded each time.
        top: Share of the images that is cut off at the top.
        view: What of them is seen.
        masks: Where the lung masks are that ``view`` needs; None: it needs none.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        groups: Sequence[Group],
        size: int,
        augment: Augment,
        cached: Sequence[CachedImages] | None = None,
        *,
        top: float = 0.0,
        view: View = View.original,
        masks: LungMasks | None = None,
    ) -> None:
        self.order = [task.name for task in tasks]
        self.groups = groups
        self.size = size
        self.transform = training_transform(augment)
        self.cached = cached
        self.top, self.view, self.masks = top, view, masks

    def __getitem__(self, index: Item) -> Sample:
        item = index
        group = self.groups[item.group]
        path = os.fsdecode(group.images[item.row])
        if self.cached is None:
            source = decode(path)
            image, shape = self.input(source, path), source.shape
        else:
            cached = self.cached[item.group]
            image, shape = self._seen(cached[item.row], path), tuple(cached.shapes[item.row])
        boxes = group.boxes[group.offsets[item.row] : group.offsets[item.row + 1]]
        if len(boxes) and outside(boxes, width=shape[1], height=shape[0]).any():
            raise UserError(
                f"{path}: a box lies outside of its {shape[1]}x{shape[0]} pixels; boxes count the pixels of the file, "
                "see `covidmt data check`"
            )
        boxes = input_boxes(boxes, shape, self.size, self.top)
        if item.seed is not None:
            some: dict[str, Any] = (
                {"bboxes": boxes} if len(boxes) else {}
            )  # albumentations takes its time also with none
            moved = seeded(self.transform, item.seed)(image=image, **some)
            image, boxes = moved["image"], moved.get("bboxes", boxes)
        return Sample(item, image, np.asarray(boxes, np.float32).reshape(-1, 4))

    def input(self, image: np.ndarray, path: str) -> np.ndarray:
        """What the network sees of a decoded image: (S, S) uint8; ``path`` names the original, whose lungs count."""
        return self._seen(resize(crop_top(image, self.top), self.size), path)

    def _seen(self, image: np.ndarray, path: str) -> np.ndarray:
        if self.masks is None:
            return image
        return show(image, self.masks.read(path, self.size, self.top), self.view, path)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """One :class:`~experiments.batch.Batch`; the samples come group by group."""
        tasks: dict[str, TaskBatch] = {}
        # No images at all, as Poisson sampling can draw: of every group none.
        for index in dict.fromkeys(sample.item.group for sample in samples) or range(len(self.groups)):
            group = self.groups[index]
            places = [i for i, sample in enumerate(samples) if sample.item.group == index]
            rows = np.array([samples[i].item.row for i in places], np.int64)
            for task in group.tasks:
                tasks[task.name] = TaskBatch(
                    rows=slice(places[0], places[-1] + 1) if places else slice(0, 0),
                    targets=torch.from_numpy(group.targets[task.name][rows]),
                    boxes=[torch.from_numpy(samples[i].boxes) for i in places] if task.kind is TaskKind.boxes else [],
                )
        pixels = np.array([sample.image for sample in samples], np.uint8).reshape(-1, 1, self.size, self.size)
        return Batch(torch.from_numpy(pixels), {name: tasks[name] for name in self.order if name in tasks})


def input_boxes(boxes: np.ndarray, shape: tuple[int, ...], size: int, top: float = 0.0) -> np.ndarray:
    """Boxes of an image of this shape (H, W) in its input, (n, 4) float32, without those mostly cut off at the top."""
    height, width = shape[:2]
    if cut := int(top * height):
        tall = boxes[:, 3] - boxes[:, 1]
        boxes = np.maximum(boxes - np.array([0, cut, 0, cut], np.float32), 0)
        boxes = boxes[boxes[:, 3] - boxes[:, 1] >= MIN_VISIBILITY * tall]
    return boxes * np.array([size / width, size / (height - cut)] * 2, np.float32)
