"""The data that a trained network is evaluated on: pairs, the same originals through channels, every task's split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import DataLoader
from typing_extensions import override

from datamodules.channels.registry import get_channel
from datamodules.groups import batch_groups
from datamodules.multitask import MultiTaskDataModule
from datamodules.pairs import ChannelDataset
from datamodules.sources.table import load_tables
from experiments.errors import UserError
from experiments.schema import Experiment, Task, TaskKind


class EvaluationDataModule(MultiTaskDataModule):
    """One loader for the pairs, one for the channels (if any), one a batch group that has images in the split.

    Needs only the pairs: a task whose data set is not on this machine is left out, and noted.

    Args:
        experiment: The trained network's.
        split: ``val`` or ``test``.
        channels: Names of channels; the originals of at most ``channel_limit`` pairs go through each.
        channel_limit: Drawn by seed.

    Attributes:
        notes: What is left out, and why.
    """

    def __init__(
        self, experiment: Experiment, split: str, channels: Sequence[str] = (), channel_limit: int = 500
    ) -> None:
        super().__init__(experiment)
        self.split, self.channels, self.channel_limit = split, list(channels), channel_limit
        self.notes: list[str] = []
        self._tasks: list[Task] = []
        self._simulated = [get_channel(name, "--channel") for name in self.channels]

    @override
    def setup(self, stage: str | None = None) -> None:
        if self.tables:
            return
        data, active = self.experiment.data, self.experiment.active

        # data sets that are not on this machine
        present = {task.source for task in active if data.sources[task.source].folder.exists()}
        self.notes += [
            f"task {task.name} is left out: no folder {data.sources[task.source].root}"
            for task in active
            if task.source not in present
        ]
        self.tables = load_tables(data, present | {self.pair_source})

        # tasks without images in the split
        here = [task for task in active if task.source in present]
        self.notes += [
            f"task {task.name} is left out: source {task.source} has no {self.split} split"
            for task in here
            if not self._has_split(task)
        ]
        self._tasks = [task for task in here if self._has_split(task)]
        self._build()

        # what else is to be known
        if not self.experiment.model.boxes.objectness:
            names = [task.name for task in self._tasks if task.kind is TaskKind.boxes]
            self.notes += [
                f"task {name}: without an objectness branch its boxes have no scores, so no mAP" for name in names
            ]
        missing = {task.source for task in active} - present
        if missing:
            self.notes.append(
                f"not read: {', '.join(sorted(missing))}; where a data set is missing, the others' splits can differ "
                "from those of the training"
            )

    def _has_split(self, task: Task) -> bool:
        return bool((self.tables[task.source]["split"] == self.split).any())

    @override
    def _build(self) -> None:
        self.groups = batch_groups(self._tasks, self.tables, self.split)
        self.dataset = self._images(self._tasks, self.groups)
        if self.without_lungs:
            count, view = self.without_lungs.get(self.split, 0), self.experiment.data.view.value
            self.notes.append(f"{count} images in which no lung was found are left out (data.view={view})")

    @property
    def pair_source(self) -> str:
        """The name of the pairs' source.

        Raises:
            UserError: There is none.
        """
        pairs = self.experiment.data.pairs
        source = pairs.val if self.split == "val" else pairs.test
        if source is None:
            raise UserError("data.pairs.test is null: there are no test pairs; name a source or a folder with --pairs")
        return source

    @override
    def test_dataloader(self) -> list[DataLoader]:
        """Return loaders of this process's share of each, none padded, in the same order on all processes."""
        loaders = [self.pair_dataloader(self.split)]
        if self.channels:
            rank, world = self.rank_and_world
            dataset = ChannelDataset(self.pair_dataset(self.split), self.channel_rows[rank::world], self._simulated)
            loaders.append(self._loader(dataset, batch_size=max(1, 64 // len(self.channels))))
        return loaders + self._evaluation_loaders(self.split)

    @property
    def channel_rows(self) -> list[int]:
        """The pairs whose originals go through the channels."""
        n = len(self.pair_dataset(self.split))
        drawn = np.random.default_rng(self.experiment.data.split_seed).permutation(n)[: self.channel_limit]
        return np.sort(drawn).tolist()

    def patients(self, group: int) -> np.ndarray:
        """Return the patients of a group's images in the split, (n,) str."""
        batch_group = self.groups[group]
        table = self.tables[batch_group.tasks[0].source].drop_duplicates("image").set_index("image")["patient"]
        images = [path.decode() for path in batch_group.images[batch_group.rows(self.split)]]
        return table.loc[images].to_numpy(dtype=np.str_)
