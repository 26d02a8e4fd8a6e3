"""The data that a trained network is evaluated on: pairs, the same originals through channels, every task's split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import DataLoader
from typing_extensions import override

from datamodules.channels.chance import Channel, RandomChannel
from datamodules.channels.registry import get_channel
from datamodules.groups import batch_groups
from datamodules.multitask import MultiTaskDataModule
from datamodules.pairs import ChannelDataset
from datamodules.sources.table import load_tables
from datamodules.task_pairs import PairGroup, TaskPairDataset
from experiments.errors import UserError
from experiments.schema import Experiment, Task, TaskKind, View

RECEIVED = ("wacxr", "pairs")  # kinds of sources that bring what the phone received


class EvaluationDataModule(MultiTaskDataModule):
    """One loader for the pairs, one for other tasks' pairs and one for the channels (if any), one a batch group.

    Needs only the pairs: a task whose data set is not on this machine is left out, and noted.

    Args:
        experiment: The trained network's.
        split: ``val`` or ``test``.
        channels: Names of channels; the originals of at most ``channel_limit`` pairs go through each.
        channel_limit: Drawn by seed.
        draws: Of each channel that is random; the pairs' own is then one of the channels, if it is simulated.

    Attributes:
        channels: The names; a further draw of a random channel is ``<name> #2``, ``<name> #3`` ...
        notes: What is left out, and why.
    """

    def __init__(
        self,
        experiment: Experiment,
        split: str,
        channels: Sequence[str] = (),
        channel_limit: int = 500,
        draws: int | None = None,
    ) -> None:
        super().__init__(experiment)
        self.split, self.channel_limit = split, channel_limit
        self.notes: list[str] = []
        self._tasks: list[Task] = []

        # every draw of every channel
        data, draws = experiment.data, draws or experiment.data.pairs.draws
        self._simulated: dict[str, Channel] = {}
        for name in channels:
            self._simulated |= draw_names(name, get_channel(name, "--channel", data.split_seed), draws)
        own = get_channel(data.pairs.channel, seed=data.split_seed)
        received = split == "test" and any(data.sources[name].kind in RECEIVED for name in data.pairs.test_sources[:1])
        if draws > 1 and isinstance(own, RandomChannel) and not received:
            self._simulated |= draw_names(data.pairs.channel, own, draws)
        self.channels = list(self._simulated)

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
        named = {name for name in self._named_sources if data.sources[name].folder.exists()}
        self.tables = load_tables(data, present | named | {self.pair_source}, active)

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
        if not self._named_sources:
            raise UserError("data.pairs.test is null: there are no test pairs; name a source or a folder with --pairs")
        return self._named_sources[0]

    @property
    def _named_sources(self) -> list[str]:
        return self.experiment.data.pairs.sources_of(self.split)

    @override
    def test_dataloader(self) -> list[DataLoader]:
        """Return loaders of this process's share of each, none padded, in the same order on all processes."""
        loaders = [self.pair_dataloader(self.split)]
        if self.has_other_pairs:
            others = TaskPairDataset(self.pair_groups(self.split))
            batches = others.batches(self.experiment.robustness.batch_size, *self.rank_and_world)
            loaders.append(self._loader(others, batch_sampler=batches, collate_fn=others.collate))
        if self.channels:
            rank, world = self.rank_and_world
            channels = list(self._simulated.values())
            dataset = ChannelDataset(self.pair_dataset(self.split), self.channel_rows[rank::world], channels)
            loaders.append(self._loader(dataset, batch_size=max(1, 64 // len(self.channels))))
        return loaders + self._evaluation_loaders(self.split)

    @override
    def pair_groups(self, split: str) -> list[PairGroup]:
        """Return the pairs that tasks besides the deciding one are scored on, at most ``channel_limit`` of a source.

        The decision's pairs are among them where another task shares their source; the deciding task is in none.
        """
        deciding, groups = self.experiment.robustness.task, []
        for source, tasks in self._tasks_by_pairs(split).items():
            others = [task for task in tasks if task.name != deciding and task in self._tasks]
            if others:
                groups.append(PairGroup(source, others, False, self._pairs_of(source, split, others)))
        return groups

    @override
    def images(self, splits: Sequence[str]) -> list[str]:
        decision = [] if self.experiment.data.view is not View.original else self.pair_dataset(self.split).paths
        return list(dict.fromkeys([*decision, *super().images(splits)]))

    @property
    def has_other_pairs(self) -> bool:
        """Whether a task besides the deciding one has pairs."""
        return bool(self.pair_groups(self.split))

    @override
    def _pair_sources(self, split: str) -> list[str]:
        first, named = self.pair_source, self._named_sources
        chosen = [first, *(source for source in named[1:] if source in self.tables)]

        # sources of tasks that none of these has pairs for
        sources = self.experiment.data.sources
        covered = {*chosen, *(getattr(sources[source], "labels_of", None) for source in chosen)}
        readable = [task for task in self._tasks if task.kind is not TaskKind.custom]
        others = dict.fromkeys(task.source for task in readable if task.source not in covered)
        return [*chosen, *others]

    @override
    def _pair_limit(self, source: str, split: str) -> int | None:
        return super()._pair_limit(source, split) if source == self.pair_source else self.channel_limit

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


def draw_names(name: str, channel: Channel, draws: int) -> dict[str, Channel]:
    """Return a random channel's draws by name, the first by the channel's own; any other channel once.

    Example:
        >>> list(draw_names("whatsapp", get_channel("whatsapp"), 3))
        ['whatsapp']
        >>> list(draw_names("jpeg:50..90", get_channel("jpeg:50..90"), 3))
        ['jpeg:50..90', 'jpeg:50..90 #2', 'jpeg:50..90 #3']
    """
    if not isinstance(channel, RandomChannel):
        return {name: channel}
    return {f"{name} #{draw + 1}" if draw else name: channel.draw(channel.seed + draw) for draw in range(draws)}
