"""The data of an experiment: its sample tables, the batches of its tasks, the pairs of its robustness scores."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Subset

from datamodules.channels.registry import get_channel
from datamodules.companions import CompanionDataset
from datamodules.dataset import ImageDataset
from datamodules.groups import Group, batch_groups, fill_cache
from datamodules.images.cached import CachedImages
from datamodules.images.masks import LungMasks
from datamodules.loaders import JobLoader, NoBatches, next_step
from datamodules.pairs import PairDataset, collate_pairs
from datamodules.sampler import BalancedStream, Item, PoissonSampler, StepSampler, Stream
from datamodules.sources.table import load_tables
from experiments.batch import Batch, Pair
from experiments.errors import UserError
from experiments.schema import Experiment, Task, View


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
        ...         Image.new("L", (40, 30), 90).save(Path(folder, f"{name}.png"))
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
        names = {task.source for task in self.experiment.active} | {data.pairs.val}
        test = data.pairs.test
        if test and data.sources[test].folder.exists():  # training can do without it
            names.add(test)
        self.tables = load_tables(data, names)
        self._build()

    def _build(self) -> None:
        """Batch groups, streams and images of the tables."""
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
            tasks, groups, data.image_size, data.augment, cached, top=data.crop_top, view=data.view, masks=masks
        )

    def images(self, splits: Sequence[str]) -> list[str]:
        """Return the images of some splits that need a lung mask: the pairs'; all, where ``data.view`` hides a part."""
        if self.experiment.data.view is View.original:
            return [path for split in splits if split != "train" for path in self.pair_dataset(split).paths]
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
        rank, world = self.rank_and_world
        sampler = StepSampler if self.experiment.privacy is None else PoissonSampler
        steps = sampler(
            self.streams,
            [group.batch_size for group in self.groups],
            self.experiment.data.epoch_length,
            seed=self.experiment.seed,
            rank=rank,
            world_size=world,
        )

        # where a Trainer is to continue
        if self.trainer:
            steps.start_step = next_step(self.trainer, len(steps))
            if self.trainer.overfit_batches:  # ty: ignore[missing-attribute]  # set by its data connector
                steps.sampler = None  # nothing that Lightning could call set_epoch on: the same steps in every epoch

        dataset = self._accompanied() or self.dataset
        return self._loader(dataset, batch_sampler=steps, collate_fn=dataset.collate, persistent=True)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Return one loader a batch group, over this process's share (rows rank::world) of the validation split."""
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """Return the loaders of the test split, without the groups that have none; never an empty list."""
        return self._evaluation_loaders("test")

    def pair_dataset(self, split: str) -> PairDataset:
        """Return the pairs of a split.

        Args:
            split: ``val``: made by the simulated channel; ``test``: WaCXR's, or of another source made likewise.

        Raises:
            UserError: There are none.
        """
        table = self._pair_table(split)
        data = self.experiment.data
        return PairDataset(
            table,
            self.experiment.robustness.label,
            data.image_size,
            self.masks,
            channel=None if "received" in table else get_channel(data.pairs.channel),
            limit=data.pairs.limit if split == "val" else None,
            seed=data.split_seed,  # runs of other seeds are compared on the same pairs
            top=data.crop_top,
            view=data.view,
        )

    def _pair_table(self, split: str) -> pd.DataFrame:
        pairs = self.experiment.data.pairs
        source = pairs.val if split == "val" else pairs.test
        if source is None:
            raise UserError(f"data.pairs.{split} is null: there are no {split} pairs; name a source")
        if source not in self.tables:
            root = self.experiment.data.sources[source].root
            raise UserError(f"data.sources.{source}.root: there is no folder '{root}'; the {split} pairs need it")
        table = self.tables[source]
        table = table[table["split"] == split]
        if table.empty:
            raise UserError(f"data.pairs.{split}: source '{source}' has no image in the {split} split")
        return table

    def pair_dataloader(self, split: str) -> DataLoader[Pair]:
        """Return batches of this process's share of the pairs: every pair is on one process, and on one only."""
        rank, world = self.rank_and_world
        dataset = self.pair_dataset(split)
        share = Subset(dataset, range(rank, len(dataset), world))
        return self._loader(share, batch_size=self.experiment.robustness.batch_size, collate_fn=collate_pairs)

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
