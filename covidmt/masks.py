"""Before a training: every image of a pair gets a lung mask, computed once by the segmenter and cached."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from covidmt.logger import global_rank
from datamodules.masks import cache_path, write_mask
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
    """Fill the mask cache, and tell the datamodule whose masks to use: for pairs, and for images of `losses.attention`.

    Safe when several processes or jobs come at once: one computes, the others wait and find it done.

    Raises:
        UserError: The segmenter's checkpoint or experiment is missing or broken, or an image cannot be read.
    """
    masks = experiment.data.masks
    images = [path for split in splits for path in datamodule.pair_dataset(split).paths] + datamodule.needing_lungs
    if masks.segmenter is None or not datamodule.masks.missing(images):
        return
    try:
        _prepare(experiment, datamodule, images)
    except UserError as error:
        raise UserError(f"data.masks.segmenter ({masks.segmenter}): {error}") from error


def _prepare(experiment: Experiment, datamodule: MultiTaskDataModule, images: list[str]) -> None:
    from covidmt.lungs import segment_files  # segmentation-models-pytorch takes seconds to import
    from lightning_modules.segmenters import load_segmenter, segmenter_id

    cache = Path(experiment.data.masks.cache).expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    segmenter = _named_or_trained(experiment, cache)
    datamodule.segmenter = segmenter_id(segmenter)
    with FileLock(cache / ".lock"):
        missing = datamodule.masks.missing(images)
        if missing:
            for path, mask in segment_files(load_segmenter(segmenter), [Path(path) for path in missing]):
                write_mask(cache_path(cache, datamodule.segmenter, path), mask)


def _named_or_trained(experiment: Experiment, cache: Path) -> str | Path:
    """The segmenter's name or checkpoint; that of a lungs experiment is trained where it is not there yet."""
    segmenter = str(experiment.data.masks.segmenter)
    if not segmenter.endswith((".yaml", ".yml")):
        return segmenter
    lungs = load_lungs_experiment(Path(segmenter).expanduser(), [f"data.root={experiment.data.root}", *_ONE_PROCESS])
    digest = sha256(json.dumps(to_dict(lungs), sort_keys=True).encode()).hexdigest()[:12]
    checkpoint = cache / f"{lungs.name}-{digest}.ckpt"
    lungs.tracking.uri = experiment.tracking.uri
    if global_rank() == 0:
        with FileLock(cache / ".training"):
            if not checkpoint.exists():
                _train(lungs, checkpoint)
    else:
        _wait(checkpoint)
    return checkpoint


def _train(lungs: LungsExperiment, checkpoint: Path) -> None:
    from covidmt.lungs import train

    try:
        trained = train(lungs)
    except BaseException as error:
        _failure(checkpoint).touch()
        if isinstance(error, UserError):
            advice = "or train it apart with `covidmt lungs train` and name its checkpoint in data.masks.segmenter"
            raise UserError(f"while it was trained: {error}; {advice}") from error
        raise
    new = checkpoint.with_suffix(".new")
    shutil.copyfile(trained, new)
    new.replace(checkpoint)


def _wait(checkpoint: Path) -> None:
    """The job's other processes, until the first one has trained the segmenter."""
    begin = time.time()
    failure = _failure(checkpoint)
    while not checkpoint.exists():
        if failure.exists() and failure.stat().st_mtime > begin:
            raise UserError("the first process could not train it, see there")
        time.sleep(1)


def _failure(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".failed")
