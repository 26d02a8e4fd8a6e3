"""Before a training: every image of a pair gets a lung mask, computed once by the segmenter and cached."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_only

from datamodules.masks import LungMasks, cache_path, write_mask
from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.load import load_lungs_experiment, to_dict
from experiments.schema import Experiment, LungsExperiment

# A segmenter trained on the way is trained by one process, whatever the cluster started.
_ONE_PROCESS = (
    "trainer.devices=1",
    "trainer.num_nodes=1",
    "trainer.strategy=auto",
    "trainer.plugins=[{class_path: lightning.pytorch.plugins.environments.LightningEnvironment}]",
)


def prepare_masks(experiment: Experiment, datamodule: MultiTaskDataModule, splits: Sequence[str]) -> None:
    """Fill the mask cache for the pairs of some splits, and tell the datamodule whose masks to use.

    Safe when several processes or jobs come at once: one computes, the others wait and find it done.

    Raises:
        UserError: The segmenter's checkpoint or experiment is missing or broken, or an image cannot be read.
    """
    masks = experiment.data.masks
    images = [path for split in splits for path in datamodule.pair_dataset(split).paths]
    if masks.segmenter is None or not LungMasks(masks).missing(images):
        return
    from covidmt.lungs import segment_files  # segmentation-models-pytorch takes seconds to import
    from lightning_modules.lung_unet import LungUNet, segmenter_id

    cache = Path(masks.cache)
    segmenter = Path(masks.segmenter)
    if segmenter.suffix not in (".yaml", ".yml"):
        checkpoint, lungs = segmenter, None
        if not checkpoint.is_file():
            raise UserError(f"data.masks.segmenter: there is no checkpoint {segmenter}")
    else:
        lungs = load_lungs_experiment(segmenter, [f"data.root={experiment.data.root}", *_ONE_PROCESS])
        digest = sha256(json.dumps(to_dict(lungs), sort_keys=True).encode()).hexdigest()[:12]
        checkpoint = cache / f"{lungs.name}-{digest}.ckpt"
    if getattr(rank_zero_only, "rank", 0) != 0:
        _wait(checkpoint, datamodule, images)
        return
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):
        if lungs is not None and not checkpoint.exists():
            _train(lungs, checkpoint)
        datamodule.segmenter = segmenter_id(checkpoint)
        missing = datamodule.masks.missing(images)
        if missing:
            network = LungUNet.load(checkpoint)
            for path, mask in segment_files(network, [Path(path) for path in missing]):
                write_mask(cache_path(cache, datamodule.segmenter, path), mask)


def _train(lungs: LungsExperiment, checkpoint: Path) -> None:
    from covidmt.lungs import train

    new = checkpoint.with_suffix(".new")
    shutil.copyfile(train(lungs), new)
    new.replace(checkpoint)


def _wait(checkpoint: Path, datamodule: MultiTaskDataModule, images: list[str]) -> None:
    """Other processes of the same job: the first one computes; if it fails, the launcher ends all."""
    from lightning_modules.lung_unet import segmenter_id

    while not checkpoint.exists():
        time.sleep(1)
    datamodule.segmenter = segmenter_id(checkpoint)
    while images := datamodule.masks.missing(images):
        time.sleep(1)
