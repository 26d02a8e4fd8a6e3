"""The schema that every lung segmentation YAML obeys: names, types, defaults (the defaults are paper 001's)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Any, Dict, List, Optional

from omegaconf import MISSING

from experiments.bounds import bounded
from experiments.paths import absolute
from experiments.schema import Augment, Optimizer, Scheduler, Tracking


@dataclass
class LungFolder:
    """Images and lung masks in two folders, paired by stem.

    Attributes:
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
    """

    root: str = "data"
    image_size: int = bounded(256, at_least=32)
    folders: Dict[str, LungFolder] = field(default_factory=dict)
    val_fraction: float = bounded(0.1, at_least=0)
    test_fraction: float = bounded(0.1, at_least=0)
    validate: bool = True
    batch_size: int = bounded(1, at_least=1)
    num_workers: int = bounded(4, at_least=0)
    augment: Augment = field(default_factory=lambda: Augment(hflip=0.0, intensity=0.2))


@dataclass
class LungModel:
    """A segmentation-models-pytorch U-Net."""

    encoder: str = "resnet34"
    encoder_weights: Optional[str] = "imagenet"  # null: from scratch
    weights: Optional[str] = None  # local encoder weights file, or package:<module>/<file>
    decoder_channels: List[int] = field(default_factory=lambda: [256, 128, 64, 32, 16])  # coarse to fine


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
