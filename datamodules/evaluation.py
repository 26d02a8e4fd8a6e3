"""The data that a trained network is evaluated on: pairs, the same originals through channels, every task's split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader
from typing_extensions import override

from datamodules.channels import get_channel
from datamodules.dataset import ImageDataset, batch_groups
from datamodules.multitask import MultiTaskDataModule
from datamodules.pairs import ChannelDataset, balanced_draw
from datamodules.table import load_tables
from experiments.schema import Experiment


class EvaluationDataModule(MultiTaskDataModule):
    """One loader for the pairs, one for the channels (if any), one a batch group that has images in the split.

    Needs only the pairs: a task whose data set is not on this machine is left out, and noted.

    Args:
        experiment: The trained network's.
        split: ``val`` or ``test``.
        channels: Names of channels; the originals of at most ``channel_limit`` pairs go through each.
        channel_limit: Drawn by seed, the label's values as even as there are any.

    Attributes:
        notes: What is left out, and why.
    """

    def __init__(
        self, experiment: Experiment, split: str, channels: Sequence[str] = (), channel_limit: int = 500
    ) -> None:
        super().__init__(experiment)
        self.split, self.channels, self.channel_limit = split, list(channels), channel_limit
        self.notes: list[str] = []
        self._simulated = [get_channel(name, "--channel") for name in self.channels]

    @override
    def setup(self, stage: str | None = None) -> None:
        if self.tables:
            return
        data, active = self.experiment.data, self.experiment.active
        pairs = data.pairs.val if self.split == "val" else data.pairs.test
        present = {task.source for task in active if Path(data.sources[task.source].root).expanduser().exists()}
        self.notes += [
            f"task {task.name} is left out: no folder {data.sources[task.source].root}"
            for task in active
            if task.source not in present
        ]
        self.tables = load_tables(data, present | ({pairs} if pairs else set()))
        tasks = [task for task in active if task.source in present]
        self.groups = batch_groups(tasks, self.tables)
        self.dataset = ImageDataset(tasks, self.groups, data.image_size, data.augment)
        for group in self.groups:
            if not len(group.rows(self.split)):
                names = ", ".join(task.name for task in group.tasks)
                self.notes.append(f"{names}: left out, source {group.tasks[0].source} has no {self.split} split")

    @override
    def test_dataloader(self) -> list[DataLoader]:
        """This process's share of each, none padded. The order of the loaders is the same on all processes."""
        loaders = [self.pair_dataloader(self.split)]
        if self.channels:
            rank, world = self.rank_and_world
            dataset = ChannelDataset(self.pair_dataset(self.split), self.channel_rows[rank::world], self._simulated)
            loaders.append(self._loader(dataset, batch_size=max(1, 64 // len(self.channels))))
        return loaders + self._evaluation_loaders(self.split)

    @property
    def channel_rows(self) -> list[int]:
        """The pairs whose originals go through the channels."""
        labels = self.pair_dataset(self.split).labels
        return balanced_draw(labels, self.channel_limit, self.experiment.data.split_seed).tolist()

    def patients(self, group: int) -> np.ndarray:
        """(n,) the patients of a group's images in the split."""
        some = self.groups[group]
        table = self.tables[some.tasks[0].source].drop_duplicates("image").set_index("image")["patient"]
        return table.loc[[path.decode() for path in some.images[some.rows(self.split)]]].to_numpy(dtype=np.str_)
