"""Lung masks before a training: every image that needs one gets it, computed once by the segmenter and cached."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from filelock import FileLock

from covidmt.tracking.logger import global_rank
from datamodules.images.mask_files import cache_path, write_computed
from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.load import load_lungs_experiment, to_dict
from experiments.lungs.poses import pose_lines
from experiments.lungs_schema import LungsExperiment
from experiments.schema import Experiment, Masks, View

log = logging.getLogger("covidmt")

# A segmenter that a training needs is trained by one process, however many the cluster started.
_ONE_PROCESS = (
    "trainer.devices=1",
    "trainer.num_nodes=1",
    "trainer.strategy=auto",
    "trainer.plugins=[{class_path: lightning.pytorch.plugins.environments.LightningEnvironment}]",
)


def prepare_masks(
    experiment: Experiment,
    datamodule: MultiTaskDataModule,
    splits: Sequence[str],
    *,
    may_train: bool = True,
    both: bool = False,
    device: torch.device | None = None,
) -> None:
    """Fill the mask cache for some splits, and tell the datamodule whose masks to use.

    Masks are needed by the images of pairs (``train`` has none) and of `losses.attention`; by all images where
    ``data.view`` hides a part of them: then those in which no lung is found are taken out of the datamodule.

    Safe when several processes or jobs come at once: one computes, the others wait and find it done.

    Args:
        experiment: The experiment.
        datamodule: Its data, set up.
        splits: Of ``train``, ``val`` and ``test``.
        may_train: False where a checkpoint names the segmenter, see :func:`resolve_segmenter`.
        both: The scores are wanted under both conventions of ``data.masks.heart``, as far as masks know them.
        device: Where the segmenter computes; None: on the GPU if there is one.

    Raises:
        UserError: The masks do not know the convention ``data.masks.heart``; the segmenter's checkpoint or experiment
            is missing or broken; or an image cannot be read.
    """
    masks = experiment.data.masks
    images = datamodule.images(splits) + datamodule.needing_lungs
    if masks.segmenter is not None and datamodule.masks.missing(images, both=both):
        try:
            _fill_cache(experiment, datamodule, images, may_train, both, device)
        except UserError as error:
            raise UserError(f"data.masks.segmenter ({masks.segmenter}): {error}") from error
    _describe_masks(datamodule, images)

    view = experiment.data.view
    if view is not View.original:
        empty = datamodule.masks.empty(images, experiment.data.image_size, experiment.data.crop_top)
        if len(empty) == len(images):
            raise UserError(f"data.view={view.value}: no image has a lung mask; see data.masks")
        datamodule.leave_out(empty)
        if empty:
            log.warning(f"data.view={view.value}: no lung was found in {len(empty)} of {len(images)} images; left out")


def with_local_cache(masks: Masks) -> Masks:
    """Return a checkpoint's settings of masks, with the default cache if its own folder is not on this machine.

    A checkpoint must make no folders.

    Example:
        >>> with_local_cache(Masks(cache="/another/machine/masks")).cache
        'mlruns/masks'
    """
    return masks if masks.cache_folder.is_dir() else replace(masks, cache=Masks.cache)


def _describe_masks(datamodule: MultiTaskDataModule, images: list[str]) -> None:
    """Say how many images have a mask, and refuse a convention that the masks do not know."""
    images = list(dict.fromkeys(images))
    masks = datamodule.masks
    survey = masks.count(images)
    masks.require_heart(images)
    if global_rank() != 0 or not images:
        return
    if masks.settings.folders:
        line = f"data.masks.folders: {survey.own} of {survey.images} images have a mask there"
        if not survey.own:
            line += "; a mask is found by its image's name, see data.masks.suffix"
        log.log(logging.INFO if survey.own == survey.images else logging.WARNING, line)
    if survey.own + survey.computed < survey.images:
        count = survey.images - survey.own - survey.computed
        log.warning(
            f"{count} of {survey.images} images of all pairs have no lung mask, and count in no OLS; see data.masks"
        )


def _fill_cache(
    experiment: Experiment,
    datamodule: MultiTaskDataModule,
    images: list[str],
    may_train: bool,
    both: bool,
    device: torch.device | None,
) -> None:
    from covidmt.lungs.segment import segment_files  # segmentation-models-pytorch takes seconds to import
    from lightning_modules.lungs.segmenters import load_segmenter, require_convention, segmenter_id

    cache = experiment.data.masks.cache_folder
    cache.mkdir(parents=True, exist_ok=True)
    segmenter = resolve_segmenter(experiment, cache, may_train=may_train)
    datamodule.segmenter = segmenter_id(segmenter)
    with FileLock(cache / ".lock"):
        missing = datamodule.masks.missing(images, both=both)
        if missing:
            poses, network = {}, load_segmenter(segmenter)
            if not datamodule.masks.settings.folders:
                require_convention(network, datamodule.masks.heart, "data.masks.segmenter")
            for film in segment_files(network, [Path(path) for path in missing], device=device):
                write_computed(cache_path(cache, datamodule.segmenter, film.path), film.areas)
                if film.pose is not None:
                    poses[film.path.name] = film.pose
            for line in pose_lines(poses):
                log.warning(line)


def resolve_segmenter(experiment: Experiment, cache: Path, *, may_train: bool = True) -> str | Path:
    """Return the segmenter's name or checkpoint; that of a lungs experiment is trained if it is not there yet.

    Args:
        experiment: Names the segmenter in ``data.masks.segmenter``.
        cache: Folder of the checkpoints of lungs experiments.
        may_train: Whether it may be trained.

    Raises:
        UserError: It would have to be trained, and a checkpoint names it (``may_train`` is false): a checkpoint may
            come from others, and a training runs the code that its YAML names.
    """
    segmenter = str(experiment.data.masks.segmenter)
    if not segmenter.endswith((".yaml", ".yml")):
        return segmenter

    lungs = load_lungs_experiment(segmenter, [f"data.root={experiment.data.root}", *_ONE_PROCESS])
    digest = sha256(json.dumps(to_dict(lungs), sort_keys=True).encode()).hexdigest()[:12]
    checkpoint = cache / f"{lungs.name}-{digest}.ckpt"

    if not may_train and not checkpoint.exists():
        raise UserError(
            f"the checkpoint names this lungs experiment, which is not trained here ({checkpoint} is not there), and a "
            "checkpoint must not choose what is run; give data.masks.segmenter=..., or --segmenter to `covidmt panel`"
        )

    lungs.tracking.uri = experiment.tracking.uri
    if global_rank() == 0:
        with FileLock(cache / ".training"):
            if not checkpoint.exists():
                _train_segmenter(lungs, checkpoint)
    else:
        _wait_for(checkpoint)
    return checkpoint


def _train_segmenter(lungs: LungsExperiment, checkpoint: Path) -> None:
    from covidmt.lungs.train import train_lungs

    try:
        trained = train_lungs(lungs)
    except BaseException as error:
        _failure_mark(checkpoint).touch()
        if isinstance(error, UserError):
            advice = "or train it on its own with `covidmt lungs train` and name its checkpoint in data.masks.segmenter"
            raise UserError(f"while it was trained: {error}; {advice}") from error
        raise
    with replace_file(checkpoint) as new:
        shutil.copyfile(trained, new)


def _wait_for(checkpoint: Path) -> None:
    """Wait in a job's other processes until the first one has trained the segmenter."""
    begin = time.time()
    failure = _failure_mark(checkpoint)
    while not checkpoint.exists():
        if failure.exists() and failure.stat().st_mtime > begin:
            raise UserError("the first process could not train it; its output says why")
        time.sleep(1)


def _failure_mark(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".failed")
