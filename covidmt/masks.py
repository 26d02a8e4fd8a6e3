"""Before a training: every image of a pair gets a lung mask, computed once by the segmenter and cached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.progress import track

from datamodules.decode import decode, resize
from datamodules.masks import LungMasks, cache_path, write_mask
from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.load import load_lungs_experiment, to_dict
from experiments.schema import Experiment

BATCH = 16


def prepare_masks(experiment: Experiment, datamodule: MultiTaskDataModule, splits: Sequence[str]) -> None:
    """Fill the mask cache for the pairs of some splits, and tell the datamodule whose masks to use.

    Safe when several processes or jobs come at once: one computes, the others wait and find it done.

    Raises:
        UserError: The segmenter's checkpoint or experiment is missing or broken.
    """
    masks = experiment.data.masks
    images = [path for split in splits for path in datamodule.pair_dataset(split).paths]
    if masks.segmenter is None or not LungMasks(masks).missing(images):
        return
    from lightning_modules.lung_unet import segmenter_id  # segmentation-models-pytorch takes seconds to import

    cache = Path(masks.cache)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):
        checkpoint = _checkpoint(experiment, cache)
        datamodule.segmenter = segmenter_id(checkpoint)
        missing = datamodule.masks.missing(images)
        if missing:
            fill_cache(checkpoint, missing, cache)


def fill_cache(checkpoint: Path, images: Sequence[str], cache: Path) -> None:
    """Segment images and keep their masks at the segmenter's resolution."""
    from lightning_modules.lung_unet import LungUNet, segmenter_id

    network = LungUNet.load(checkpoint)
    network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    identity = segmenter_id(checkpoint)
    size = network.experiment.data.image_size
    for start in track(range(0, len(images), BATCH), f"Lung masks of {len(images)} images"):
        batch = images[start : start + BATCH]
        greys = np.stack([resize(decode(path), size) for path in batch])
        found = network.segment(torch.from_numpy(greys)[:, None].to(network.device)).cpu().numpy()
        for path, mask in zip(batch, found, strict=True):
            write_mask(cache_path(cache, identity, path), mask)


def _checkpoint(experiment: Experiment, cache: Path) -> Path:
    """The segmenter's checkpoint; a lungs experiment is trained where that has not been done yet."""
    segmenter = Path(str(experiment.data.masks.segmenter))
    if segmenter.suffix not in (".yaml", ".yml"):
        if not segmenter.is_file():
            raise UserError(f"data.masks.segmenter: no such checkpoint: {segmenter}")
        return segmenter
    lungs = load_lungs_experiment(segmenter, [f"data.root={experiment.data.root}"])
    digest = sha256(json.dumps(to_dict(lungs), sort_keys=True).encode()).hexdigest()[:12]
    checkpoint = cache / f"{lungs.name}-{digest}.ckpt"
    if not checkpoint.exists():
        from covidmt.lungs import train as train_lungs

        train_lungs(lungs).replace(checkpoint)
    return checkpoint
