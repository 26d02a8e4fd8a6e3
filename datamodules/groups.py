"""Batch groups: tasks that draw the same batches, as arrays that loader workers share."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.filesize import decimal

from datamodules.images.cache import ImageCache
from datamodules.images.cached import CachedImages
from datamodules.sampler import BalancedStream, Stream
from datamodules.sources.table import label_columns
from experiments.errors import UserError, nearest
from experiments.schema import Balance, DataSets, Task, TaskKind

log = logging.getLogger("covidmt")


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
        frame: (width, height) that the boxes were drawn for; None: each image's own.
        patients: (n,) int64, a number for each image's patient; None where the table names none.
    """

    name: str
    tasks: list[Task]
    images: np.ndarray
    splits: np.ndarray
    targets: dict[str, np.ndarray]
    boxes: np.ndarray
    offsets: np.ndarray
    frame: tuple[int, int] | None = None
    patients: np.ndarray | None = None

    @property
    def source(self) -> str:
        """The images' source; of images without a task the group's own name."""
        return self.tasks[0].source if self.tasks else self.name

    @property
    def batch_size(self) -> int:
        """Images a step takes, per process."""
        return self.tasks[0].batch_size

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of a split, int64."""
        return np.flatnonzero(self.splits == split)

    def stream(self, seed: int) -> Stream | BalancedStream:
        """Return the endless stream of training rows: plain, up-sampled or class-balanced as the task says.

        Raises:
            UserError: A label that no training image has.
        """
        rows = self.rows("train")
        classes = {task.name: self._classes(task, rows) for task in self.tasks}
        task = self.tasks[0]
        by_label = classes[task.name]
        if task.balance is Balance.classes:
            return BalancedStream(self.name, seed, [members for members in by_label.values() if len(members)])
        return Stream(self.name, seed, rows, [(by_label[a], len(by_label[b])) for a, b in task.upsample.items()])

    def _classes(self, task: Task, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Label -> training rows that have it; "" -> those known to have none of the labels."""
        if task.kind is TaskKind.boxes:
            values, labels = (np.diff(self.offsets)[rows] > 0)[:, None], ["a box"]
        else:
            values, labels = self.targets[task.name][rows], task.labels
        classes = {label: rows[values[:, i] == 1] for i, label in enumerate(labels)}
        for label, members in classes.items():
            if not len(members):
                raise UserError(
                    f"tasks.{task.name}: no training image of source '{task.source}' has {label}; drop the label or "
                    "the task, or see `covidmt data check` for where the images went"
                )
        return classes | {"": rows[(values == 0).all(axis=1)]}


def batch_groups(tasks: Sequence[Task], tables: dict[str, pd.DataFrame], split: str = "val") -> list[Group]:
    """Return the active tasks by the batches they draw: a group a source, and one a task with ``share_batch: false``.

    Args:
        tasks: The active tasks; the group of the first one comes first.
        tables: Source name -> sample table.
        split: The split that must have labelled images: a training is nothing without validation.

    Raises:
        UserError: A label or boxes that the source does not have; no labelled image in the split; batch sizes that
            differ within a group; a task of a shared group that asks for ``balance`` or ``upsample``.

    Example:
        >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "split": ["train", "val"], "Edema": [1.0, 0.0]})
        >>> (group,) = batch_groups([Task("edema", "nih", labels=["Edema"])], {"nih": table})
        >>> group.name, group.rows("val").tolist(), group.targets["edema"].tolist()
        ('nih', [1], [[1.0], [0.0]])
    """
    shares: dict[str, list[Task]] = {}
    for task in tasks:
        shares.setdefault(task.source if task.share_batch else f"{task.source}/{task.name}", []).append(task)
    return [_group(name, members, tables, split) for name, members in shares.items()]


def _group(name: str, tasks: list[Task], tables: dict[str, pd.DataFrame], split: str) -> Group:
    _check_shared_batch(tasks)
    table = tables[tasks[0].source]
    targets = {task.name: _targets(task, table) for task in tasks}

    # images that at least one task has a label for; no box is an answer too
    labelled = np.zeros(len(table), bool)
    for task in tasks:
        labelled |= True if task.kind is TaskKind.boxes else ~np.isnan(targets[task.name]).all(axis=1)
    table = table[labelled]
    if not (table["split"] == split).any():
        raise UserError(
            f"tasks.{', '.join(task.name for task in tasks)}: source '{tasks[0].source}' has no labelled image in the "
            f"{split} split; see data.val_fraction, or `covidmt data check` for where the images went"
        )

    # the boxes of all images in one array
    boxes = [np.empty((0, 4), np.float32)]
    if any(task.kind is TaskKind.boxes for task in tasks):
        boxes += [np.asarray(each, np.float32).reshape(-1, 4) for each in table["boxes"]]
    counts = [len(each) for each in boxes[1:]] or [0] * len(table)

    return Group(
        name=name,
        tasks=tasks,
        images=np.array([os.fsencode(path) for path in table["image"]], dtype=np.bytes_),
        splits=table["split"].to_numpy(dtype=np.str_),
        targets={task: values[labelled] for task, values in targets.items()},
        boxes=np.concatenate(boxes),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        frame=table["frame"].iloc[0] if "frame" in table else None,
        patients=pd.factorize(table["patient"])[0] if "patient" in table else None,
    )


def _check_shared_batch(tasks: list[Task]) -> None:
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


def unlabelled_group(name: str, tables: Sequence[pd.DataFrame]) -> Group:
    """Return all images of some sample tables, each once, as a group of no task: for what needs no labels.

    Example:
        >>> first, second = (pd.DataFrame({"image": images, "split": "train"}) for images in (["a", "b"], ["b"]))
        >>> unlabelled_group("films", [first, second]).images.tolist()
        [b'a', b'b']
    """
    rows = pd.concat([table[["image", "split"]] for table in tables]).drop_duplicates("image")
    return Group(
        name=name,
        tasks=[],
        images=np.array([os.fsencode(path) for path in rows["image"]], dtype=np.bytes_),
        splits=rows["split"].to_numpy(dtype=np.str_),
        targets={},
        boxes=np.empty((0, 4), np.float32),
        offsets=np.zeros(len(rows) + 1, np.int64),
    )


def fill_cache(
    data: DataSets, groups: Sequence[Group], *, processes: int | None = None, verify: bool = False
) -> list[CachedImages] | None:
    """Return the groups' images in the cache, where what is missing or has changed is decoded first.

    Where something was decoded, the room of removed and replaced images goes back to the disk. None: the settings name
    no cache.

    Args:
        data: The settings.
        groups: Batch groups.
        processes: As of :meth:`datamodules.images.cache.ImageCache.fill`.
        verify: As of the same.

    Raises:
        UserError: The cache cannot be filled, or an image cannot be read.
    """
    if data.cache_folder is None:
        return None
    cached = []
    for group in groups:
        cache = ImageCache(data.cache_folder, group.source, data.image_size, data.crop_top, data.max_megapixels)
        decoded = cache.fill(group.images, processes=processes, verify=verify)
        freed = cache.compact() if decoded or verify else 0
        if freed:
            log.info(f"{cache.pixels}: {decimal(freed)} of removed and replaced images given back to the disk")
        cached.append(cache.view(group.images))
    return cached
