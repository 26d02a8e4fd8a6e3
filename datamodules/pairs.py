"""Image pairs of the robustness scores: each original beside what the phone received."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.channels.registry import Channel
from datamodules.dataset import box_shape, input_boxes
from datamodules.images.decode import crop_top, decode, resize
from datamodules.images.masks import LungMasks
from datamodules.images.views import hide
from experiments.batch import Pair
from experiments.names import printable
from experiments.schema import MAX_MEGAPIXELS, View


class PairDataset(Dataset[Pair]):
    """Pairs of a sample table: each original beside what the phone received of it.

    Both images go through the same decoder and the same resize.

    Args:
        table: Sample table, one row a pair; a column ``received`` names the file that came through the channel.
        label: The decision's label; NaN for all where the table has no such column.
        size: Side S of the input.
        masks: Where the lung masks are.
        channel: Makes the received image from the full-size original; None: the table's ``received`` files.
        limit: At most so many pairs, drawn by seed, as many of each value of the label as there are.
        seed: The experiment's seed.
        top: Share of both images that is cut off at the top.
        view: What of both is seen, by the original's lungs.
        megapixels: At most so many million pixels a file may have.

    Attributes:
        paths: The originals.
        ids: A name for each pair, unique: the original's file name, with as many folders as it takes.
        labels: (n,) float32: 1 has the label, 0 has not, NaN unknown.
        patients: Each pair's patient.
        boxes: Each original's true boxes, (n, 4) float32 xyxy in pixels of the file or of ``frame``; empty where the
            table has none.
        frame: (width, height) that the boxes were drawn for; None: each file's own.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from experiments.schema import Masks
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = [f"{folder}/film.png", f"{folder}/received.jpg"]
        ...     for file, grey in zip(files, (90, 80)):
        ...         Image.new("L", (30, 20), grey).save(file)
        ...     row = {"image": files[0], "received": files[1], "patient": "1", "covid": 1.0}
        ...     pairs = PairDataset(pd.DataFrame([row]), "covid", size=8, masks=LungMasks(Masks(folders=[])))
        ...     pair = pairs[0]
        >>> tuple(pair.original.shape), int(pair.original[0, 0, 0]), int(pair.received[0, 0, 0]), pair.id
        ((1, 8, 8), 90, 80, 'film.png')
    """

    def __init__(
        self,
        table: pd.DataFrame,
        label: str,
        size: int,
        masks: LungMasks,
        *,
        channel: Channel | None = None,
        limit: int | None = None,
        seed: int = 0,
        top: float = 0.0,
        view: View = View.original,
        megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        table = table.drop_duplicates("image")
        labels = table[label].to_numpy(np.float32) if label in table else np.full(len(table), np.nan, np.float32)
        if limit is not None:
            chosen = balanced_draw(labels, limit, seed)
            table, labels = table.iloc[chosen], labels[chosen]

        self.labels = labels
        self.paths = [str(path) for path in table["image"]]
        self.received = [] if channel else [str(path) for path in table["received"]]
        self.ids = unique_names(self.paths)
        self.patients = [str(patient) for patient in table["patient"]]
        self.boxes = (
            [np.asarray(boxes, np.float32).reshape(-1, 4) for boxes in table["boxes"]] if "boxes" in table else []
        )
        self.frame = table["frame"].iloc[0] if "frame" in table and len(table) else None

        self.size = size
        self.masks = masks
        self.channel = channel
        self.top, self.view = top, view
        self.megapixels = megapixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pair:
        """Return a pair without batch dimension: images (1, S, S) uint8, label a float32 scalar, lung (S, S) bool."""
        return self.read(index)[0]

    def read(self, index: int) -> tuple[Pair, np.ndarray]:
        """Return a pair, and its original's true boxes: (n, 4) float32 xyxy in input pixels.

        Raises:
            UserError: An image or its mask cannot be used, or a box lies outside of the original.
        """
        original = decode(self.paths[index], megapixels=self.megapixels)
        received = decode(self.channel(original) if self.channel else self.received[index], megapixels=self.megapixels)
        lung = self.lung(index, original)
        boxes = self.boxes[index] if self.boxes else np.empty((0, 4), np.float32)
        if len(boxes):
            shape = box_shape(boxes, original.shape, self.frame, self.paths[index])
            boxes = input_boxes(boxes, shape, self.size, self.top)
        pair = Pair(
            original=torch.tensor(self.input(original, lung))[None],
            received=torch.tensor(self.input(received, lung))[None],
            label=torch.tensor(self.labels[index]),
            lung=torch.from_numpy(lung),
            id=self.ids[index],  # ty: ignore[invalid-argument-type]  # stacked into the list of a batch
        )
        return pair, boxes

    def lung(self, index: int, original: np.ndarray) -> np.ndarray:
        """Return the lung fields of an original, which comes decoded: (S, S) bool."""
        return self.masks.read(self.paths[index], self.size, self.top, original)

    def lungs_of_all(self, heart: str) -> Iterator[np.ndarray]:
        """Yield the lung fields of every original in a convention, ``in`` or ``out``: (S, S) bool, False if unknown."""
        for path in self.paths:
            yield self.masks.read(path, self.size, self.top, heart=heart)

    def input(self, image: np.ndarray, lung: np.ndarray) -> np.ndarray:
        """Return what the network sees of a decoded image (H, W): (S, S) uint8."""
        return hide(resize(crop_top(image, self.top), self.size), lung, self.view)


class ChannelBatch(NamedTuple):
    """Originals after each of C channels.

    Attributes:
        rows: (B,) int64, the originals' places in their :class:`PairDataset`.
        images: (B, C, 1, S, S) uint8.
    """

    rows: Tensor
    images: Tensor


class ChannelDataset(Dataset[ChannelBatch]):
    """The originals of some pairs, each sent through several channels.

    Args:
        pairs: The pairs.
        rows: Which of them.
        channels: Full-size original -> the received file.
    """

    def __init__(self, pairs: PairDataset, rows: Sequence[int], channels: Sequence[Channel]) -> None:
        self.pairs, self.rows, self.channels = pairs, list(rows), list(channels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ChannelBatch:
        """Return one original after all channels, without the batch dimension."""
        row = self.rows[index]
        original = decode(self.pairs.paths[row], megapixels=self.pairs.megapixels)
        lung = self.pairs.lung(row, original)
        images = [self.pairs.input(decode(channel(original)), lung) for channel in self.channels]
        return ChannelBatch(torch.tensor(row), torch.from_numpy(np.stack(images))[:, None])


def collate_pairs(pairs: Sequence[Pair]) -> Pair:
    """Stack pairs to a batch."""
    *tensors, ids = zip(*pairs, strict=True)
    return Pair(*(torch.stack(items) for items in tensors), id=list(ids))


def balanced_draw(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Draw at most ``limit`` elements, as many of each label as there are.

    Args:
        labels: (n,) float32; NaN is a label too.
        limit: How many at most.
        seed: Of the draw.

    Returns:
        The sorted indices of the elements, int64.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1], np.float32)
        >>> labels[balanced_draw(labels, limit=4, seed=0)].tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    rng = np.random.default_rng(seed)
    codes = np.where(np.isnan(labels), -1, labels)
    turn = np.empty(len(labels), np.int64)  # an element's place in its shuffled class: the classes take turns
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        turn[members] = rng.permutation(len(members))
    return np.sort(np.lexsort((-codes, turn))[:limit])


def unique_names(paths: list[str]) -> list[str]:
    """Return each path's file name, printable, with as many folders as it takes to tell them apart.

    Example:
        >>> unique_names(["/a/1/film.png", "/a/2/film.png"])
        ['1/film.png', '2/film.png']
    """
    parts = [Path(path).parts for path in paths]
    depth = 1
    while len({names[-depth:] for names in parts}) < len(parts):
        depth += 1
    return [printable("/".join(names[-depth:]).replace("\\", r"\\")) for names in parts]  # escapes stay unique
