"""Films without labels for self-supervised pretraining: two views of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.dataset import ImageDataset
from datamodules.groups import Group, fill_cache, unlabelled_group
from datamodules.images.augment import seeded, view_transform
from datamodules.loaders import JobLoader
from datamodules.sampler import Item, StepSampler, Stream
from datamodules.sources.table import load_tables
from experiments.errors import UserError
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Augment


class TwoViews(Dataset[Tensor]):
    """Two views of each film, asked for by :class:`~datamodules.sampler.Item`; a pure function of its row and seed.

    Args:
        films: The films.
        experiment: For the views and their size.
    """

    def __init__(self, films: ImageDataset, experiment: PretrainExperiment) -> None:
        self.films = films
        self.transform = view_transform(experiment.views, experiment.data.image_size)

    def __getitem__(self, index: Item) -> Tensor:
        """Return the (2, 1, S, S) uint8 views of a film."""
        film, seed = self.films[index._replace(seed=None)].image, index.seed or 0
        views = [seeded(self.transform, 2 * seed + side)(image=film)["image"] for side in (0, 1)]
        return torch.from_numpy(np.stack(views))[:, None]


class PretrainDataModule(LightningDataModule):
    """Loaders of (N, 2, 1, S, S) uint8: two views of the films of all sources' training and validation splits.

    The splits are those of an experiment with the same sources and split settings: no test patient is learned from.

    Args:
        experiment: What to run.

    Attributes:
        tables: Source -> sample table, after ``setup``.
        group: The films.
    """

    group: Group

    def __init__(self, experiment: PretrainExperiment) -> None:
        super().__init__()
        self.experiment = experiment
        self.tables = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the tables, and fill ``data.cache`` if it is set.

        Raises:
            UserError: Anything wrong with the data sets, the views or the cache, or too few films.
        """
        if self.tables:
            return
        data = self.experiment.data
        self.tables = load_tables(data)
        self.group = unlabelled_group("films", list(self.tables.values()))
        films = ImageDataset(
            [], [self.group], data.image_size, Augment(), fill_cache(data, [self.group]), top=data.crop_top
        )
        self.dataset = TwoViews(films, self.experiment)
        for split in ("train", "val"):
            count = len(self.group.rows(split))
            if count < 2:
                raise UserError(f"data.sources: {count} films in the {split} split; a film is told apart from others")
        if len(self.group.rows("train")) < self.experiment.batch_size:
            count = len(self.group.rows("train"))
            raise UserError(f"batch_size: {self.experiment.batch_size} is more than the {count} films to learn from")

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Return this process's share of the training films, with new views in every epoch."""
        stream = Stream("films", self.experiment.seed, self.group.rows("train"))
        steps = StepSampler(
            [stream],
            [self.experiment.batch_size],
            seed=self.experiment.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )
        return self._loader(steps)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Return the validation films in whole batches, the same views each time; all of them on every process."""
        rows, size = self.group.rows("val"), min(self.experiment.batch_size, len(self.group.rows("val")))
        batches = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
        return self._loader([[Item(0, int(row), int(row)) for row in batch] for batch in batches])

    def _loader(self, batches: StepSampler | Sequence[list[Item]]) -> DataLoader[Tensor]:
        workers = self.experiment.data.num_workers
        return JobLoader(self.dataset, num_workers=workers, persistent_workers=workers > 0, batch_sampler=batches)
