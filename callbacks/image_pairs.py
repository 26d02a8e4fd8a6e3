"""Image pairs for a DataModule that knows none: from files and labels, with the lungs that a segmenter finds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Subset

from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode, resize
from datamodules.pairs import PairDataset, collate_pairs
from experiments.batch import Pair
from experiments.errors import UserError
from lightning_modules.lungs.segmenters import load_segmenter

logger = logging.getLogger("covidmt")
_LABEL = "label"
Data = TypeVar("Data", bound=L.LightningDataModule)


class SegmentedLungs:
    """The lungs of some images, found once by a segmenter and kept in memory.

    Args:
        images: Files.
        segmenter: As of :func:`.load_segmenter`.
    """

    def __init__(self, images: Sequence[str], segmenter: str) -> None:
        network = load_segmenter(segmenter)
        self.masks: dict[str, np.ndarray] = {}
        for path in images:
            film = torch.tensor(resize(decode(path), network.image_size))[None, None]
            self.masks[path] = (network.segment(film).lungs[0] >= 0.5).cpu().numpy()
        empty = sum(not mask.any() for mask in self.masks.values())
        if empty:
            logger.warning(f"no lung was found in {empty} of {len(self.masks)} images; OLS leaves them out")

    def read(self, image: str | Path, size: int, *_: Any, **__: Any) -> np.ndarray:
        """Return the lung fields of an image: (size, size) bool."""
        mask = torch.from_numpy(self.masks[str(image)]).float()[None, None]
        return interpolate(mask, (size, size), mode="bilinear", antialias=True)[0, 0].numpy() >= 0.5


def image_pairs(
    images: Sequence[str | Path],
    labels: Sequence[float],
    size: int,
    *,
    channel: str = "whatsapp",
    segmenter: str = "covidmt",
    patients: Sequence[str] | None = None,
) -> PairDataset:
    """Return pairs of images and what a phone makes of them, for :func:`with_pairs`.

    Args:
        images: Files (PNG, JPEG, DICOM, ...).
        labels: Of each image 1, 0, or NaN = unknown: whether it shows what the decision is about.
        size: Side of the network's input, in pixels.
        channel: As of :func:`.get_channel`.
        segmenter: What finds the lungs, as of :func:`.load_segmenter`: the one that comes with covidmt.
        patients: Of each image its patient; None: every image is one's own.

    Raises:
        UserError: No images, as many labels or patients as there are no images, or one that cannot be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (40, 40), 90).save(f"{folder}/film.png")
        ...     pair = image_pairs([f"{folder}/film.png"], [1], size=32)[0]
        >>> tuple(pair.original.shape), float(pair.label), pair.lung.dtype, pair.id
        ((1, 32, 32), 1.0, torch.bool, 'film.png')
    """
    files = [str(path) for path in images]
    owners = files if patients is None else [str(patient) for patient in patients]
    if not files or not len(files) == len(labels) == len(owners):
        raise UserError(f"image_pairs: {len(files)} images, {len(labels)} labels and {len(owners)} patients; one each")
    table = pd.DataFrame({"image": files, "patient": owners, _LABEL: np.asarray(labels, np.float32)})
    lungs: Any = SegmentedLungs(files, segmenter)  # read as LungMasks are
    return PairDataset(table, _LABEL, size, lungs, channel=get_channel(channel, "channel"))


def with_pairs(
    datamodule: Data, *, val: PairDataset | None = None, test: PairDataset | None = None, batch_size: int = 16
) -> Data:
    """Return a DataModule that gives :class:`.RobustnessCallback` and :class:`.GradCamOverlays` these pairs.

    Args:
        datamodule: Any; it gets the methods ``pair_dataset`` and ``pair_dataloader``.
        val: Pairs of every validation epoch.
        test: Pairs of the test.
        batch_size: Pairs a batch.
    """
    pairs = {"val": val, "test": test}

    def pair_dataset(split: str) -> PairDataset | None:
        return pairs[split]

    def pair_dataloader(split: str) -> DataLoader[Pair] | None:
        dataset = pairs[split]
        if dataset is None:
            return None
        trainer = datamodule.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        share: Any = Subset(dataset, range(rank, len(dataset), world))  # every pair in one process, once
        return DataLoader(share, batch_size=batch_size, collate_fn=collate_pairs)

    vars(datamodule).update(pair_dataset=pair_dataset, pair_dataloader=pair_dataloader)
    return datamodule
