"""What extra losses need beside a training image, augmented as it is: its received copy and its lungs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.channels.chance import Channel, draw_channel
from datamodules.dataset import ImageDataset, Sample
from datamodules.images.decode import decode
from datamodules.images.masks import LungMasks
from datamodules.sampler import Item
from experiments.batch import Batch


class Accompanied(NamedTuple):
    """A sample with its received copy, (S, S) uint8, and its lungs, (S, S) bool; None where they are not asked for."""

    sample: Sample
    received: np.ndarray | None
    lungs: np.ndarray | None


class CompanionDataset(Dataset[Accompanied]):
    """Training images; those of one group come with companions under the same augmentation.

    Args:
        dataset: The images.
        group: The decision's group.
        channel: Makes the received image from the image at full size; None: there are none.
        masks: Where the lungs are looked up; None: no lungs.
    """

    def __init__(
        self, dataset: ImageDataset, group: int, channel: Channel | None = None, masks: LungMasks | None = None
    ) -> None:
        self.dataset, self.group, self.channel, self.masks = dataset, group, channel, masks

    def __getitem__(self, index: Item) -> Accompanied:
        sample = self.dataset[index]
        if index.group != self.group:
            return Accompanied(sample, None, None)

        # both before the augmentation
        path, size = os.fsdecode(self.dataset.groups[index.group].images[index.row]), self.dataset.size
        image, lungs = sample.image, np.zeros((size, size), np.uint8)
        source = None if self.channel is None else decode(path, megapixels=self.dataset.megapixels)
        if self.channel is not None and source is not None:
            channel = draw_channel(self.channel, index.seed or 0)  # a random channel is drawn anew every time
            image = self.dataset.input(decode(channel(source)), path)
        if self.masks is not None:
            lungs = self.masks.read(path, size, self.dataset.top, source).astype(np.uint8)

        # moved as the sample's image was; the image is moved too where only the lungs are needed
        if index.seed is not None:
            from datamodules.images.augment import seeded  # albumentations takes a second to import

            moved = seeded(self.dataset.transform, index.seed)(image=image, mask=lungs, bboxes=np.zeros((0, 4)))
            image, lungs = moved["image"], moved["mask"]
        return Accompanied(
            sample, None if self.channel is None else image, None if self.masks is None else lungs.astype(bool)
        )

    def collate(self, samples: Sequence[Accompanied]) -> Batch:
        """Stack samples to a batch, with the companions of the group's images in their order."""
        batch = self.dataset.collate([each.sample for each in samples])
        mine = [each for each in samples if each.sample.item.group == self.group]
        received = [each.received for each in mine if each.received is not None]
        lungs = [each.lungs for each in mine if each.lungs is not None]
        return batch._replace(
            received=torch.from_numpy(np.stack(received))[:, None] if received else None,
            lungs=torch.from_numpy(np.stack(lungs)) if lungs else None,
        )
