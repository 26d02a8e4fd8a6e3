"""What an experiment may say about its network: the base network, its input, the heads."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import List, Optional

from experiments.bounds import bounded
from experiments.plugins.choices import chosen


class Norm(Enum):
    """The normalisation layers of the network."""

    batch = "batch"  # as the network comes
    group = "group"  # batch normalisation replaced by group normalisation, in heads too


class Pyramid(Enum):
    """The feature pyramid under the box head (`lightning_modules/networks/pyramid.py`)."""

    paper = "paper"  # ten convolutions, P2 to P7, as RetinaNet's
    torchvision = "torchvision"  # eight convolutions, P2 to P5


@dataclass
class BoxHeadSettings:
    """Bounding-box head (paper: FPN + box regression subnet)."""

    pyramid: Pyramid = Pyramid.torchvision
    channels: int = bounded(256, at_least=1)
    l2: float = bounded(1e-4, at_least=0)  # factor of the regularised least squares
    objectness: bool = True  # our addition: a branch that says whether there is a box
    score_threshold: float = bounded(0.05, at_least=0, at_most=1)
    nms_iou: float = bounded(0.5, at_least=0, at_most=1)
    max_boxes: int = bounded(10, at_least=1)


@dataclass
class Normalisation:
    """What a network's input is normalised by, of each of its three channels; grey values are scaled to 0-1 before."""

    mean: List[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])  # ImageNet's
    std: List[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])


@dataclass
class Model:
    """Base network and heads.

    Attributes:
        backbone: A torchvision name (``resnet50``), ``timm:<name>``, a COVID-Net of docs/covidnet.md, or a class of
            your own (docs/extending.md), which loads its own weights: ``pretrained`` is for networks by name.
        pretrained: ImageNet weights from the hub cache; ``weights`` wins.
        weights: A local weights file (``covidmt weights fetch``), or ``package:<module>/<file>`` for a file that an
            installed Python package brings.
        init_from: Fine-tuning: start from what fits of a run, a checkpoint or weights file, ``models:/NAME@ALIAS``,
            ``hf-hub:ORGANISATION/NAME`` or ``torchxrayvision:NAME``; what is left out is listed. ``pretrained`` is not
            looked at then. A checkpoint's heads are loaded too, where tasks and labels have the same names.
        normalisation: null: that of the network's published weights where it starts from weights, else ImageNet's.
        head: Of the classification tasks. ``transition``: convolution, batch normalisation, ReLU, pooling, linear layer
            (paper 000). ``native``: the network as published, AlexNet's fully connected layers, EfficientNet's dropout
            ...; it starts from ``pretrained`` or ``weights`` too, but its last layer. Or a class of your own.
        transition_channels: Width of the ``transition`` head.
    """

    backbone: str = chosen("resnet50", "backbones")
    pretrained: bool = True
    weights: Optional[str] = None
    init_from: Optional[str] = None
    normalisation: Optional[Normalisation] = None
    head: str = chosen("transition", "heads")
    norm: Norm = Norm.batch  # group: privacy needs it; and its twin without privacy, for a fair pair
    transition_channels: int = bounded(512, at_least=1)
    channels_last: bool = False
    compile: bool = False  # the base network by torch.compile
    boxes: BoxHeadSettings = field(default_factory=BoxHeadSettings)
