"""The schema of self-supervised pretraining: names, types, bounds, defaults (all ours: paper 002 gives no settings)."""

from __future__ import annotations

from dataclasses import dataclass, field

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Any, Dict, Optional

from omegaconf import MISSING

from experiments.bounds import bounded
from experiments.plugins.choices import chosen
from experiments.schema import Augment, DataSets, Optimizer, Scheduler
from experiments.tracking.schema import Tracking


@dataclass
class Views(Augment):
    """How the two views of a film are made, that the network is to recognise as one film's.

    Attributes:
        crop: Least share of the area that a view shows; 1: views are not cropped.
    """

    crop: float = bounded(0.4, above=0, at_most=1)
    translate: float = bounded(0.0, at_least=0, at_most=1)
    zoom: float = bounded(0.0, at_least=0, at_most=1)
    intensity: float = bounded(0.2, at_least=0, at_most=1)
    contrast: float = 0.3
    gamma: float = 0.3
    blur: float = 1.0
    jpeg: float = bounded(0.5, at_least=0, at_most=1)


@dataclass
class PretrainModel:
    """The base network, without heads.

    Attributes:
        backbone: As ``model.backbone`` of an experiment.
        pretrained: Begin with ImageNet weights from the hub cache; ``weights`` wins.
        weights: Begin with a weights file, as ``model.weights`` of an experiment.
        projection: Length of what is compared; thrown away after the training.
    """

    backbone: str = chosen("resnet50", "backbones")
    pretrained: bool = False
    weights: Optional[str] = None
    channels_last: bool = False
    projection: int = bounded(128, at_least=1)


@dataclass
class PretrainExperiment:
    """What ``covidmt pretrain`` runs: SimCLR (Chen, Kornblith, Norouzi, Hinton 2020) on films without labels.

    Attributes:
        batch_size: Films a step, per process; each is told apart from all others of the step.
        temperature: Of the contrastive loss: the lower, the more the most similar other films count.

    >>> PretrainExperiment("mine").views.crop
    0.4
    """

    name: str = MISSING
    seed: int = bounded(0, at_least=0, at_most=2**32 - 1)
    data: DataSets = field(default_factory=lambda: DataSets(image_size=224))
    views: Views = field(default_factory=Views)
    batch_size: int = bounded(64, at_least=2)
    temperature: float = bounded(0.2, above=0)
    model: PretrainModel = field(default_factory=PretrainModel)
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(name="AdamW", lr=1e-3))
    scheduler: Scheduler = field(default_factory=lambda: Scheduler(name=None))
    tracking: Tracking = field(default_factory=lambda: Tracking(experiment="covidmt-pretrain"))
    trainer: Dict[str, Any] = field(default_factory=lambda: {"max_epochs": 100})
