"""The schema that every lung segmentation YAML obeys: names, types, defaults (the defaults are paper 001's)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Any, Dict, List, Optional

from omegaconf import MISSING

from experiments.bounds import bounded
from experiments.lungs.masks import MaskLevels
from experiments.models.schema import Normalisation
from experiments.paths import absolute
from experiments.schema import Augment, Optimizer, Scheduler
from experiments.tracking.schema import Tracking


@dataclass
class LungFolder:
    """Images and lung masks in two folders, paired by stem.

    Attributes:
        other_masks: More folders of masks, joined with the first: the other lung's.
        levels: Which grey levels of the masks are lungs and heart; null: they have two, background and lung.
        drawn: ``in``: the masks hold the part of the lungs behind the heart; ``out``: they stop at it.
        hearts: A folder of heart masks, named as the lung masks are; null: hearts are unknown.
        table: A CSV below the root with the columns ``image``, ``mask`` (paths below the root) and optionally
            ``split`` and ``patientid``, of which the rows with images below ``images`` are taken; null: every image
            with a mask.
        split: ``train``, ``val`` or ``test``: the whole folder is that split. null: as the table says, else by seed.
        repeat: How often a training image comes up in an epoch.
        mask_suffix: What a mask's stem has behind its image's: ``_mask``. Images and masks can share a folder then.
        variants: One mask is of several images, ``<mask's stem without the suffix>_<number>``; they stay in one split.
    """

    root: str = MISSING
    images: str = "images"
    masks: str = "masks"
    other_masks: List[str] = field(default_factory=list)
    levels: Optional[MaskLevels] = None
    drawn: str = "in"
    hearts: Optional[str] = None
    table: Optional[str] = None
    split: Optional[str] = None
    repeat: int = 1
    mask_suffix: str = ""
    variants: bool = False

    @property
    def folder(self) -> Path:
        """``root``, absolute."""
        return absolute(self.root)


@dataclass
class LungData:
    """Images with lung masks.

    Attributes:
        validate: false: the validation images are trained on too, and the last epoch is kept. For a final training,
            when `covidmt lungs cross-validate` has settled all else.
        not_upright: The share of training images that are turned, made negatives or replaced by other pictures, so that
            `model.pose` learns to tell them; no lungs are learnt from these.
    """

    root: str = "data"
    image_size: int = bounded(256, at_least=32)
    folders: Dict[str, LungFolder] = field(default_factory=dict)
    val_fraction: float = bounded(0.1, at_least=0)
    test_fraction: float = bounded(0.1, at_least=0)
    validate: bool = True
    not_upright: float = bounded(0.0, at_least=0, at_most=1)
    batch_size: int = bounded(1, at_least=1)
    num_workers: int = bounded(4, at_least=0)
    augment: Augment = field(default_factory=lambda: Augment(hflip=0.0, intensity=0.2))


@dataclass
class LungModel:
    """A segmentation-models-pytorch U-Net.

    Attributes:
        normalisation: null: that of the encoder's published weights where it starts from weights, else ImageNet's.
        heart: Draw the heart too, so that lungs that stop at it are known; learnt from folders with `hearts`.
        pose: Say too how the picture lies, see :data:`experiments.lungs.poses.POSES`; learnt from `data.not_upright`.
    """

    encoder: str = "resnet34"
    encoder_weights: Optional[str] = "imagenet"  # null: from scratch
    weights: Optional[str] = None  # local encoder weights file, or package:<module>/<file>
    normalisation: Optional[Normalisation] = None
    decoder_channels: List[int] = field(default_factory=lambda: [256, 128, 64, 32, 16])  # coarse to fine
    heart: bool = False
    pose: bool = False


@dataclass
class LungsExperiment:
    """What ``covidmt lungs train`` runs; the defaults are paper 001's (batch 1, 1e-4, 50 epochs).

    >>> mine = LungsExperiment("mine")
    >>> mine.data.batch_size, mine.optimizer.lr, mine.trainer["max_epochs"]
    (1, 0.0001, 50)
    """

    name: str = MISSING
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    data: LungData = field(default_factory=LungData)
    model: LungModel = field(default_factory=LungModel)
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(lr=1e-4))
    scheduler: Scheduler = field(default_factory=lambda: Scheduler(name=None))
    tracking: Tracking = field(default_factory=lambda: Tracking(experiment="covidmt-lungs"))
    trainer: Dict[str, Any] = field(default_factory=lambda: {"max_epochs": 50})
