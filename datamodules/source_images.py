"""One source's images as a trained network sees them, in the order of the sample table: no labels, no augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch.utils.data import DataLoader
from typing_extensions import override

from datamodules.groups import unlabelled_group
from datamodules.multitask import MultiTaskDataModule
from datamodules.sampler import Item
from datamodules.sources.table import load_tables
from experiments.batch import Batch
from experiments.schema import Experiment, View


class SourceImages(MultiTaskDataModule):
    """All images of a source, of every split, for questions about what a network knows of them.

    Args:
        experiment: The trained network's.
        source: Name of the source.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from experiments.schema import Data
        >>> from experiments.source_schema import FolderSource
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("train/sick/a.png", "test/well/b.png"):
        ...         Path(folder, name).parent.mkdir(parents=True)
        ...         Image.new("L", (40, 30), 90).save(Path(folder, name))
        ...     data = Data(image_size=32, num_workers=0, sources={"mine": FolderSource(root=folder)})
        ...     images = SourceImages(Experiment("mine", data=data), "mine")
        ...     images.setup()
        ...     (batch,) = images.loader(batch_size=8)
        >>> sorted(images.table["split"]), tuple(batch.images.shape)
        (['test', 'train'], (2, 1, 32, 32))
    """

    def __init__(self, experiment: Experiment, source: str) -> None:
        super().__init__(experiment)
        self.source = source

    @override
    def setup(self, stage: str | None = None) -> None:
        if not self.tables:
            tasks = [task for task in self.experiment.active if task.source == self.source]
            self.tables = load_tables(self.experiment.data, {self.source}, tasks)
            self._build()

    @override
    def _build(self) -> None:
        table = self.tables[self.source]
        self.tables = {self.source: table.drop_duplicates("image").reset_index(drop=True)}
        self.groups = [unlabelled_group(self.source, [self.table])]
        self.dataset = self._images([], self.groups)

    @override
    def images(self, splits: Sequence[str]) -> list[str]:
        return [] if self.experiment.data.view is View.original else super().images(splits)

    @property
    @override
    def needing_lungs(self) -> list[str]:
        return []

    @property
    def table(self) -> pd.DataFrame:
        """The sample table, an image a row, in the order of :meth:`loader`."""
        return self.tables[self.source]

    def loader(self, batch_size: int) -> DataLoader[Batch]:
        """Return all images in batches, without labels."""
        items = [Item(0, row) for row in range(len(self.table))]
        batches = [items[i : i + batch_size] for i in range(0, len(items), batch_size)]
        return self._loader(self.dataset, batch_sampler=batches, collate_fn=self.dataset.collate)
