"""The data of an experiment: its sample tables, the batches of its tasks, the pairs of its robustness scores."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Subset

from datamodules.channels.chance import RandomChannel
from datamodules.channels.registry import get_channel
from datamodules.classes import describe_few_validation_images, describe_misspellings, describe_unlabelled
from datamodules.companions import CompanionDataset
from datamodules.dataset import ImageDataset
from datamodules.groups import Group, batch_groups, fill_cache
from datamodules.images.cached import CachedImages
from datamodules.images.masks import LungMasks
from datamodules.loaders import JobLoader, NoBatches, next_step
from datamodules.pairs import ChannelBatch, ChannelDataset, PairDataset, collate_pairs
from datamodules.sampler import BalancedStream, Item, PoissonSampler, StepSampler, Stream
from datamodules.sources.duplicates import refuse_duplicates
from datamodules.sources.table import load_tables
from datamodules.task_pairs import KEPT_BYTES, KeptBatches, PairGroup, TaskPairDataset, mark_findings
from experiments.batch import Batch, Pair, TaskPairs
from experiments.errors import UserError
from experiments.schema import Duplicates, Entropy, Experiment, PrivacyUnit, SplitPolicy, Task, View

logger = logging.getLogger("covidmt")

FINDING = "any finding"  # a column of pairs that are balanced over all that their tasks ask for


class MultiTaskDataModule(LightningDataModule):
    """Batches of all active tasks in one loader; each validation image and each pair on exactly one process.

    Its samplers know rank and world size: run the Trainer with ``use_distributed_sampler=False``. Nothing is padded,
    so the processes' validation loaders may differ by one batch, and may be empty.

    Args:
        experiment: What to run.
        segmenter: Id of the segmenter whose computed lung masks are used. May be set later, before the pairs are asked
            for.

    Attributes:
        tables: Source name -> sample table, after :meth:`setup`.
        groups: The batch groups; the primary task's is the first.
        streams: Each group's endless stream of training rows.
        dataset: Their images.
        without_lungs: Split -> images that :meth:`leave_out` took out of it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from experiments.load import SHIPPED, load_experiment
        >>> task = "tasks={mine: {source: mine, labels: [sick], batch_size: 2}}"
        >>> settings = [task, "active_tasks=[mine]", "robustness={task: mine, label: sick}", "data.image_size=32"]
        >>> settings += ["data.pairs={val: mine, test: null}", "data.num_workers=0", "data.masks.folders=[]"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("train/sick/a", "train/well/b", "train/well/c", "val/sick/d", "val/well/e"):
        ...         Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("L", (40, 30), ord(name[-1])).save(Path(folder, f"{name}.png"))
        ...     settings.append(f"data.sources={{mine: {{kind: folder, root: {folder}}}}}")
        ...     data = MultiTaskDataModule(load_experiment(SHIPPED / "demo.yaml", settings))
        ...     data.setup()
        ...     batch = next(iter(data.train_dataloader()))
        >>> tuple(batch.images.shape), tuple(batch.tasks["mine"].targets.shape), data.pair_dataset("val").ids
        ((2, 1, 32, 32), (2, 1), ['d.png', 'e.png'])
    """

    dataset: ImageDataset

    def __init__(self, experiment: Experiment, segmenter: str | None = None) -> None:
        super().__init__()
        self.experiment = experiment
        self.segmenter = segmenter
        self.tables: dict[str, pd.DataFrame] = {}
        self.groups: list[Group] = []
        self.streams: list[Stream | BalancedStream] = []
        self.without_lungs: dict[str, int] = {}
        self._masks: LungMasks | None = None
        self._kept_pairs: dict[str, KeptBatches] = {}
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def setup(self, stage: str | None = None) -> None:
        """Read the tables, once, and build all that can fail before the first step; fill ``data.cache`` if it is set.

        Raises:
            UserError: Anything wrong with the data sets, with what the tasks ask of them, with the augmentation or the
                cache.
        """
        if self.groups:
            return
        data = self.experiment.data
        names = {task.source for task in self.experiment.active}
        first, *others = data.pairs.val_sources
        names |= {first} | {name for name in others if getattr(data.sources[name], "labels_of", None) in names}
        names |= {name for name in data.pairs.test_sources if data.sources[name].folder.exists()}  # training needs none
        self.tables = load_tables(data, names, self.experiment.active)
        if data.duplicates is Duplicates.refuse and data.split_policy is not SplitPolicy.paper:
            refuse_duplicates(self.tables)
        self._describe_classes()
        self._build()

    def _describe_classes(self) -> None:
        """Warn of labels that are used by no task, of rows without one, and of classes too small to validate on."""
        active, policy = self.experiment.active, self.experiment.data.split_policy
        for sentence in (
            *describe_misspellings(active, self.tables),
            *describe_unlabelled(active, self.tables),
            *describe_few_validation_images(active, self.tables, policy),
        ):
            logger.warning(sentence)

    def _build(self) -> None:
        """Batch groups, streams and images of the tables."""
        self._kept_pairs.clear()
        groups = batch_groups(self.experiment.active, self.tables)
        self.streams = [group.stream(self.experiment.seed) for group in groups]
        self.dataset = self._images(self.experiment.active, groups, fill_cache(self.experiment.data, groups))
        self.groups = groups
        self._accompanied()  # refuses a wrong channel now

    def _images(
        self, tasks: Sequence[Task], groups: Sequence[Group], cached: Sequence[CachedImages] | None = None
    ) -> ImageDataset:
        data = self.experiment.data
        masks = None if data.view is View.original else self.masks
        return ImageDataset(
            tasks,
            groups,
            data.image_size,
            data.augment,
            cached,
            top=data.crop_top,
            view=data.view,
            masks=masks,
            megapixels=data.max_megapixels,
        )

    def images(self, splits: Sequence[str]) -> list[str]:
        """Return the images of some splits that need a lung mask: the pairs'; all, where ``data.view`` hides a part."""
        if self.experiment.data.view is View.original:
            groups = [group for split in splits if split != "train" for group in self.pair_groups(split)]
            return [path for group in groups for path in group.pairs.paths]
        images = [table.loc[table["split"].isin(list(splits)), "image"] for table in self.tables.values()]
        return pd.unique(pd.concat(images)).tolist()

    def leave_out(self, images: Sequence[str]) -> None:
        """Take images without lungs out of all tables, batches and pairs, and count them.

        Raises:
            UserError: What is left is not enough.
        """
        gone = {name: table["image"].isin(images) for name, table in self.tables.items()}
        rows = pd.concat([table.loc[gone[name], ["image", "split"]] for name, table in self.tables.items()])
        counts = rows.drop_duplicates("image")["split"].value_counts()
        self.without_lungs = {str(split): int(count) for split, count in counts.items()}
        self.tables = {name: table[~gone[name]] for name, table in self.tables.items()}
        self._build()

    @property
    def rank_and_world(self) -> tuple[int, int]:
        """This process's number and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def training_images(self) -> int:
        """Images of the primary task's group that are trained on."""
        return len(self.groups[0].rows("train"))

    @property
    def training_patients(self) -> np.ndarray:
        """Of each of these images its patient, as whole numbers."""
        patients = self.groups[0].patients
        assert patients is not None
        return patients[self.groups[0].rows("train")]

    @property
    def global_batch(self) -> int:
        """Images of an optimizer step: all groups, all processes, all accumulated batches."""
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        return sum(group.batch_size for group in self.groups) * self.rank_and_world[1] * accumulated

    @property
    def mask_source(self) -> str:
        """What the lung masks are; see :attr:`datamodules.images.masks.LungMasks.source`."""
        return self.masks.source

    @property
    def masks(self) -> LungMasks:
        """Where the lung masks are looked up."""
        # its folders are listed once, not every epoch
        if self._masks is None or self._masks.segmenter != self.segmenter:
            self._masks = LungMasks(self.experiment.data.masks, self.segmenter)
        return self._masks

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return one loader for all tasks; a resumed Trainer continues at its next step."""
        steps = self._steps()

        # where a Trainer is to continue
        if self.trainer:
            steps.start_step = next_step(self.trainer, len(steps))
            if self.trainer.overfit_batches:  # ty: ignore[missing-attribute]  # set by its data connector
                steps.sampler = None  # nothing that Lightning could call set_epoch on: the same steps in every epoch

        dataset = self._accompanied() or self.dataset
        return self._loader(dataset, batch_sampler=steps, collate_fn=dataset.collate, persistent=True)

    def _steps(self) -> StepSampler:
        """The sampler of training steps; of a private training the one that its accounting presumes."""
        rank, world = self.rank_and_world
        options = {"seed": self.experiment.seed, "rank": rank, "world_size": world}
        sizes, length = [group.batch_size for group in self.groups], self.experiment.data.epoch_length
        privacy = self.experiment.privacy
        if privacy is None:
            return StepSampler(self.streams, sizes, length, **options)
        units = self.groups[0].patients if privacy.unit is PrivacyUnit.patient else None
        return PoissonSampler(
            self.streams, sizes, length, **options, units=units, replayable=privacy.entropy is Entropy.seed
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Return one loader a batch group, over this process's share (rows rank::world) of the validation split."""
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """Return the loaders of the test split, without the groups that have none; never an empty list."""
        return self._evaluation_loaders("test")

    def pair_dataset(self, split: str) -> PairDataset:
        """Return the pairs of the decision.

        Args:
            split: ``val``: made by the simulated channel; ``test``: received, or of another source made likewise.

        Raises:
            UserError: There are none.
        """
        return self._pairs_of(self._pair_sources(split)[0], split)

    def pair_groups(self, split: str) -> list[PairGroup]:
        """Return the pairs of every source that has some, the decision's first, with the tasks that they are for.

        A task's own pairs are those of its source, or with the labels of its source (``labels_of``); the task that
        decides is scored on the decision's pairs, wherever they are from.

        Args:
            split: ``val`` or ``test``.

        Raises:
            UserError: A source has none.
        """
        deciding = self.experiment.robustness.task
        groups = []
        for source, tasks in self._tasks_by_pairs(split).items():
            decides = deciding in [task.name for task in tasks]
            pairs = self._pairs_of(source, split, () if decides else tasks)
            groups.append(PairGroup(source, tasks, decides, pairs))
        return groups

    def pair_tasks(self, split: str) -> list[str]:
        """Return the names of the tasks that have pairs in a split."""
        return [task.name for tasks in self._tasks_by_pairs(split).values() for task in tasks]

    def _tasks_by_pairs(self, split: str) -> dict[str, list[Task]]:
        """Source of pairs -> the tasks that are scored on them; the decision's first."""
        sources, deciding = self._pair_sources(split), self.experiment.robustness.task
        found = {}
        for source in sources:
            own = {source, getattr(self.experiment.data.sources[source], "labels_of", None)}
            found[source] = [
                task
                for task in self.experiment.readable
                if (source == sources[0] if task.name == deciding else task.source in own)
            ]
        return {source: tasks for source, tasks in found.items() if tasks}

    def _pairs_of(self, source: str, split: str, balanced_over: Sequence[Task] = ()) -> PairDataset:
        """The pairs of a source; a limited number balanced over the decision's label, or over what tasks ask for."""
        data, table = self.experiment.data, self._pair_table(source, split)
        label = self.experiment.robustness.label
        if balanced_over:
            label, table = FINDING, table.assign(**{FINDING: mark_findings(table, balanced_over)})
        return PairDataset(
            table,
            label,
            data.image_size,
            self.masks,
            channel=None if "received" in table else get_channel(data.pairs.channel, seed=data.split_seed),
            limit=self._pair_limit(source, split),
            seed=data.split_seed,  # runs of other seeds are compared on the same pairs
            top=data.crop_top,
            view=data.view,
            megapixels=data.max_megapixels,
        )

    def _pair_limit(self, source: str, split: str) -> int | None:
        return self.experiment.data.pairs.limit_of(source) if split == "val" else None

    def _pair_sources(self, split: str) -> list[str]:
        """The sources whose pairs a split has, the decision's first."""
        named = self.experiment.data.pairs.sources_of(split)
        if not named:
            raise UserError(f"data.pairs.{split} is null: there are no {split} pairs; name a source")
        return [named[0], *(source for source in named[1:] if source in self.tables)]

    def _pair_table(self, source: str, split: str) -> pd.DataFrame:
        if source not in self.tables:
            root = self.experiment.data.sources[source].root
            raise UserError(f"data.sources.{source}.root: there is no folder '{root}'; the {split} pairs need it")
        table = self.tables[source]
        table = table[table["split"] == split]
        if table.empty:
            raise UserError(f"data.pairs.{split}: source '{source}' has no image in the {split} split")
        return table

    def pair_dataloader(self, split: str) -> DataLoader[Pair]:
        """Return this process's share of the decision's pairs: every pair is on one process, and on one only."""
        rank, world = self.rank_and_world
        dataset = self.pair_dataset(split)
        share = Subset(dataset, range(rank, len(dataset), world))
        return self._loader(share, batch_size=self.experiment.robustness.batch_size, collate_fn=collate_pairs)

    def task_pair_dataloader(self, split: str) -> DataLoader[TaskPairs] | KeptBatches:
        """Return this process's share of the pairs of every source; the decision's as in :meth:`pair_dataloader`.

        Validation pairs are the same at every epoch: where they are small enough they stay in memory.
        """
        if split in self._kept_pairs:
            return self._kept_pairs[split]
        dataset = TaskPairDataset(self.pair_groups(split))
        batches = dataset.batches(self.experiment.robustness.batch_size, *self.rank_and_world)
        loader = self._loader(dataset, batch_sampler=batches, collate_fn=dataset.collate)
        if split != "val" or dataset.nbytes > KEPT_BYTES:
            return loader
        self._kept_pairs[split] = KeptBatches(loader)
        return self._kept_pairs[split]

    def draw_dataloader(self, split: str) -> DataLoader[ChannelBatch] | None:
        """Return the originals of :meth:`pair_dataloader`, in its order, after the further draws of a random channel.

        None where there is one draw only: ``data.pairs.draws`` is 1, or nothing is random (such as received files).
        """
        data, dataset = self.experiment.data, self.pair_dataset(split)
        channel, draws = dataset.channel, range(1, data.pairs.draws)
        if not isinstance(channel, RandomChannel) or not draws:
            return None
        rank, world = self.rank_and_world
        further = [channel.draw(data.split_seed + draw) for draw in draws]
        rows = ChannelDataset(dataset, range(rank, len(dataset), world), further)
        return self._loader(rows, batch_size=max(1, 64 // len(further)))

    @property
    def needing_lungs(self) -> list[str]:
        """The training images whose lungs a loss asks for (``losses.attention``)."""
        if not self.experiment.losses.attention:
            return []
        group = self.groups[self._deciding]
        return [os.fsdecode(path) for path in group.images[group.rows("train")]]

    @property
    def _deciding(self) -> int:
        """The batch group of the task that decides."""
        name = self.experiment.robustness.task
        return next(i for i, group in enumerate(self.groups) if name in group.targets)

    def _accompanied(self) -> CompanionDataset | None:
        """The training images with what extra losses need; None: they need nothing."""
        losses = self.experiment.losses
        if not (losses.consistency or losses.attention):
            return None
        channel = get_channel(losses.consistency_channel) if losses.consistency else None
        return CompanionDataset(self.dataset, self._deciding, channel, self.masks if losses.attention else None)

    def _evaluation_loaders(self, split: str) -> list[DataLoader[Batch]]:
        rank, world = self.rank_and_world
        size = sum(group.batch_size for group in self.groups)  # as many images as a training step holds
        loaders: list[DataLoader[Batch]] = []
        for index, group in enumerate(self.groups):
            rows = group.rows(split)
            if not len(rows):  # not every data set has a test split
                continue
            items = [Item(index, int(row)) for row in rows[rank::world]]
            batches = [items[i : i + size] for i in range(0, len(items), size)]
            loaders.append(self._loader(self.dataset, batch_sampler=batches, collate_fn=self.dataset.collate))

        # some process has no batch at all
        if max((len(group.rows(split)) for group in self.groups), default=world) < world:
            loaders.append(DataLoader(NoBatches(), batch_size=None))
        return loaders

    def _loader(self, dataset, *, persistent: bool = False, **options) -> DataLoader:
        workers = self.experiment.data.num_workers
        # evaluation's workers live as long as their loop
        return JobLoader(dataset, num_workers=workers, persistent_workers=persistent and workers > 0, **options)
