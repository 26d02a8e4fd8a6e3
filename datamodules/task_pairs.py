"""The image pairs of several sources in one loader, each source's for its own tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.pairs import PairDataset, collate_pairs
from experiments.batch import Pair, TaskPairs
from experiments.schema import Task, TaskKind

KEPT_BYTES = 2**29  # of pairs that stay in memory from one validation to the next


class PairGroup(NamedTuple):
    """The pairs of one source.

    Attributes:
        source: The source's name.
        tasks: The tasks that are scored on them.
        decides: They are the pairs of the decision.
        pairs: The pairs.
    """

    source: str
    tasks: list[Task]
    decides: bool
    pairs: PairDataset


class PairPlace(NamedTuple):
    """Where a pair is: the number of its group, and its row."""

    group: int
    row: int


class PairItem(NamedTuple):
    """A pair before collation, with its true boxes, (n, 4) float32 xyxy in input pixels."""

    place: PairPlace
    pair: Pair
    boxes: np.ndarray


class TaskPairDataset(Dataset[PairItem]):
    """Pairs of several groups, asked for by :class:`PairPlace`.

    Args:
        groups: The groups.
    """

    def __init__(self, groups: Sequence[PairGroup]) -> None:
        self.groups = list(groups)

    def __getitem__(self, index: PairPlace) -> PairItem:
        return PairItem(index, *self.groups[index.group].pairs.read(index.row))

    def batches(self, size: int, rank: int = 0, world: int = 1) -> list[list[PairPlace]]:
        """Return the batches of one process, each of one group: every pair is in one process, and in one only.

        Args:
            size: Pairs of a batch, at most.
            rank: The process's number.
            world: How many processes there are.
        """
        batches = []
        for number, group in enumerate(self.groups):
            places = [PairPlace(number, row) for row in range(rank, len(group.pairs), world)]
            batches += [places[start : start + size] for start in range(0, len(places), size)]
        return batches

    def collate(self, items: Sequence[PairItem]) -> TaskPairs:
        """Stack pairs of one group to a batch."""
        group = self.groups[items[0].place.group]
        return TaskPairs(
            tasks=[task.name for task in group.tasks],
            decides=group.decides,
            pair=collate_pairs([item.pair for item in items]),
            patients=[group.pairs.patients[item.place.row] for item in items],
            boxes=[torch.from_numpy(item.boxes) for item in items] if group.pairs.boxes else [],
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all pairs: two images and a mask each."""
        return sum(3 * len(group.pairs) * group.pairs.size**2 for group in self.groups)


class KeptBatches:
    """A loader whose batches are the same each time: after the first time they come from memory.

    Args:
        loader: The loader.

    Example:
        >>> kept = KeptBatches(DataLoader(range(3), batch_size=2))
        >>> [batch.tolist() for batch in kept], next(iter(kept)) is next(iter(kept))
        ([[0, 1], [2]], True)
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self._kept: list[TaskPairs] | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[TaskPairs]:
        """Yield the batches; they are kept when all have been asked for."""
        if self._kept is not None:
            yield from self._kept
            return
        batches = []
        for batch in self.loader:
            batches.append(batch)
            yield batch
        self._kept = batches


def mark_findings(table: pd.DataFrame, tasks: Sequence[Task]) -> np.ndarray:
    """Return which images show anything that some tasks ask for: what a limited number of pairs is balanced over.

    Args:
        table: Sample table.
        tasks: Tasks of its source.

    Returns:
        (n,) float32: 1: some label, or a box; 0: neither; NaN: nothing is known.

    Example:
        >>> table = pd.DataFrame({"Nodule": [1.0, 0.0, np.nan], "Mass": [np.nan, 0.0, np.nan]})
        >>> mark_findings(table, [Task("lumps", "nih", labels=["Nodule", "Mass"])])
        array([ 1.,  0., nan], dtype=float32)
    """
    columns = [table[label].to_numpy(np.float32) for task in tasks for label in task.labels]
    if any(task.kind is TaskKind.boxes for task in tasks):
        columns.append(np.array([len(boxes) > 0 for boxes in table["boxes"]], np.float32))
    return np.fmax.reduce(columns) if columns else np.full(len(table), np.nan, np.float32)
