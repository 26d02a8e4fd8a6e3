"""The data set that turns the rows of batch groups into batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.groups import Group
from datamodules.images.cached import CachedImages
from datamodules.images.decode import crop_top, decode, resize
from datamodules.images.masks import LungMasks
from datamodules.images.views import hide
from datamodules.reading.boxes import MIN_VISIBILITY, fits, outside
from datamodules.sampler import Item
from experiments.batch import Batch, TaskBatch
from experiments.errors import UserError
from experiments.schema import MAX_MEGAPIXELS, Augment, Task, TaskKind, View


class Sample(NamedTuple):
    """One image before collation.

    Attributes:
        item: What was asked for.
        image: (S, S) uint8.
        boxes: (n, 4) float32 xyxy in input pixels.
    """

    item: Item
    image: np.ndarray
    boxes: np.ndarray


class ImageDataset(Dataset[Sample]):
    """Images of batch groups at input size, asked for by :class:`~datamodules.sampler.Item`.

    Args:
        tasks: The active tasks: their order is that of :attr:`~experiments.batch.Batch.tasks`.
        groups: Their batch groups.
        size: Side S of the input.
        augment: Augmentation of the items that bring a seed.
        cached: Each group's images in the cache, cut at the top; None: they are decoded each time.
        top: Share of the images that is cut off at the top.
        view: What of them is seen.
        masks: Where the lung masks are that ``view`` needs; None: it needs none.
        megapixels: At most so many million pixels a file may have.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        groups: Sequence[Group],
        size: int,
        augment: Augment,
        cached: Sequence[CachedImages] | None = None,
        *,
        top: float = 0.0,
        view: View = View.original,
        masks: LungMasks | None = None,
        megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self.order = [task.name for task in tasks]
        self.groups = groups
        self.size = size
        from datamodules.images.augment import training_transform  # albumentations takes a second to import

        self.transform = training_transform(augment)
        self.cached = cached
        self.top, self.view, self.masks = top, view, masks
        self.megapixels = megapixels

    def __getitem__(self, index: Item) -> Sample:
        """Return an image at input size, augmented where the item brings a seed.

        Raises:
            UserError: The image cannot be read, or a box of it lies outside of it.
        """
        group = self.groups[index.group]
        path = os.fsdecode(group.images[index.row])

        # the image, and its size in the file, in whose pixels its boxes are
        if self.cached is None:
            source = decode(path, megapixels=self.megapixels)
            image, shape = self.input(source, path), source.shape
        else:
            cached = self.cached[index.group]
            image, shape = self._visible(cached[index.row], path), tuple(cached.shapes[index.row])
        boxes = group.boxes[group.offsets[index.row] : group.offsets[index.row + 1]]
        if len(boxes):
            boxes = input_boxes(boxes, box_shape(boxes, shape, group.frame, path), self.size, self.top)

        if index.seed is not None:
            from datamodules.images.augment import seeded  # see above

            transform = seeded(self.transform, index.seed)
            if len(boxes):  # albumentations takes its time also with none
                moved = transform(image=image, bboxes=boxes)
                image, boxes = moved["image"], moved["bboxes"]
            else:
                image = transform(image=image)["image"]
        return Sample(index, image, np.asarray(boxes, np.float32).reshape(-1, 4))

    def input(self, image: np.ndarray, path: str) -> np.ndarray:
        """Return what the network sees of a decoded image, (S, S) uint8.

        Args:
            image: (H, W) uint8.
            path: The original, whose lungs count.
        """
        return self._visible(resize(crop_top(image, self.top), self.size), path)

    def _visible(self, image: np.ndarray, path: str) -> np.ndarray:
        if self.masks is None:
            return image
        return hide(image, self.masks.read(path, self.size, self.top), self.view, path)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return one :class:`~experiments.batch.Batch`; the samples come group by group."""
        tasks: dict[str, TaskBatch] = {}

        # No images at all, as Poisson sampling can draw: of every group none.
        for index in dict.fromkeys(sample.item.group for sample in samples) or range(len(self.groups)):
            group = self.groups[index]
            places = [i for i, sample in enumerate(samples) if sample.item.group == index]
            rows = np.array([samples[i].item.row for i in places], np.int64)
            for task in group.tasks:
                tasks[task.name] = TaskBatch(
                    rows=slice(places[0], places[-1] + 1) if places else slice(0, 0),
                    targets=torch.from_numpy(group.targets[task.name][rows]),
                    boxes=[torch.from_numpy(samples[i].boxes) for i in places] if task.kind is TaskKind.boxes else [],
                )

        pixels = np.array([sample.image for sample in samples], np.uint8).reshape(-1, 1, self.size, self.size)
        ordered = {name: tasks[name] for name in self.order if name in tasks}
        return Batch(torch.from_numpy(pixels), ordered, patients=self._patients(samples))

    def _patients(self, samples: Sequence[Sample]) -> Tensor | None:
        """(N,) int64, a number for each image's patient; None where they are of several groups or not known."""
        patients = self.groups[0].patients
        if len(self.groups) > 1 or patients is None:
            return None
        return torch.from_numpy(patients[np.array([sample.item.row for sample in samples], np.int64)])


def box_shape(boxes: np.ndarray, shape: tuple[int, ...], frame: tuple[int, int] | None, path: str) -> tuple[int, ...]:
    """Return (H, W) of the image in the pixels that its boxes count.

    Args:
        boxes: (n, 4) float32 xyxy.
        shape: (H, W) of the image in the file.
        frame: (width, height) that the boxes were drawn for; None: the file's.
        path: The file, for messages.

    Raises:
        UserError: A box lies outside, or the image is no scaled copy of the frame.
    """
    height, width = shape[:2]
    if frame is not None and not fits(frame, width, height):
        raise UserError(
            f"{path}: its {width}x{height} pixels are no copy of the {frame[0]}x{frame[1]} that its boxes are drawn "
            "for (frame of its source); give the whole image, or set frame"
        )
    if frame is None and outside(boxes, width, height).any():
        raise UserError(
            f"{path}: a box lies outside of its {width}x{height} pixels; boxes count the pixels of the file, "
            "see `covidmt data check`"
        )
    return (height, width) if frame is None else frame[::-1]


def input_boxes(boxes: np.ndarray, shape: tuple[int, ...], size: int, top: float = 0.0) -> np.ndarray:
    """Return an image's boxes in its input, without those mostly cut off at the top.

    Args:
        boxes: (n, 4) float32 xyxy in pixels of the file.
        shape: (H, W) of the image in the file.
        size: Side S of the input.
        top: Share of the image that is cut off at the top.

    Returns:
        (n, 4) float32 xyxy in pixels of the input.

    Example:
        >>> input_boxes(np.array([[10, 20, 30, 40]], np.float32), (100, 50), size=10).tolist()
        [[2.0, 2.0, 6.0, 4.0]]
    """
    height, width = shape[:2]
    cut = int(top * height)
    if cut:
        tall = boxes[:, 3] - boxes[:, 1]
        boxes = np.maximum(boxes - np.array([0, cut, 0, cut], np.float32), 0)
        boxes = boxes[boxes[:, 3] - boxes[:, 1] >= MIN_VISIBILITY * tall]
    return boxes * np.array([size / width, size / (height - cut)] * 2, np.float32)
