"""Base networks: an image to feature maps of stride 4 to 32, the last one for heads and Grad-CAM.

The last map of each family:

===============================================  ==================================================
ResNet, ResNeXt, Wide ResNet                     ``layer4``
VGG, AlexNet                                     the last ReLU; the pool after it is left out, since
                                                 the heads pool themselves
DenseNet                                         the ReLU after ``norm5``
other torchvision networks                       the last of ``features`` (``layers``, ``trunk_output``)
``timm:<name>`` (Xception, EfficientNet, ...)    ``forward_features``
``covidnet_like_*`` (:mod:`.covidnet`)           the last PEPX, with the connections that join it
===============================================  ==================================================
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import chain
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.schema import Model
from lightning_modules.networks.weights import create_network


class Stages(nn.Sequential):
    """Run a torchvision network's stages one after the other, with timm's interface to the maps between them."""

    def forward_intermediates(
        self, x: Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last stage's map, and the maps after the stages that ``indices`` names (None: all)."""
        maps = []
        for index, stage in enumerate(self):
            x = stage(x)
            if indices is None or index in indices:
                maps.append(x)
        return x, maps


class Backbone(nn.Module):
    """A network that returns its feature maps: of every stride from 4 on the last one, fine to coarse.

    Args:
        network: A timm network, or :class:`Stages`.
        image_size: Side of the images in pixels, for the maps' sizes.

    Attributes:
        channels: Channels of each map.
        strides: Stride of each map.
        map_size: Side of the final map for ``image_size``.

    Raises:
        ValueError: The network's features are no map.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.network = network
        self._indices: list[int] | None = None
        *maps, final = self._dry_run(image_size)
        if final.ndim != 4 or final.shape[2] != final.shape[3]:
            raise ValueError(f"its features are no map but {tuple(final.shape)}")

        # of each stride the last map, and the final one
        strides = [2 ** round(math.log2(image_size / m.shape[-1])) for m in [*maps, final]]
        last = {stride: index for index, stride in enumerate(strides[:-1]) if 4 <= stride < strides[-1]}
        self._indices = sorted(last.values())
        self.strides = [*(strides[i] for i in self._indices), strides[-1]]
        self.channels = [*(maps[i].shape[1] for i in self._indices), final.shape[1]]
        self.map_size = final.shape[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps (N, channels, S / stride, S / stride), fine to coarse, of (N, 3, S, S) normalised images."""
        final, maps = cast("Stages", self.network).forward_intermediates(x, self._indices, output_fmt="NCHW")
        return [*maps, final]

    def _dry_run(self, size: int) -> list[Tensor]:
        """All maps, as shapes without numbers; takes what the final map does not depend on out of the training.

        A parameter without a gradient would stop DDP: timm keeps parts of some classifiers.
        """
        # forward and backward on the meta device
        tensors = {
            name: torch.empty_like(t, device="meta").requires_grad_(isinstance(t, nn.Parameter))
            for name, t in chain(self.named_parameters(), self.named_buffers())
        }
        self.eval()
        with torch.enable_grad():
            maps = torch.func.functional_call(self, tensors, torch.empty(1, 3, size, size, device="meta"))
            names = [name for name, _ in self.named_parameters()]
            gradients = torch.autograd.grad(maps[-1].sum(), [tensors[name] for name in names], allow_unused=True)
        self.train()

        # what has no gradient: whole children go, single parameters are not trained
        used = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
        for child, module in list(self.network.named_children()):
            parameters = [f"network.{child}.{name}" for name, _ in module.named_parameters()]
            if parameters and used.isdisjoint(parameters):
                setattr(self.network, child, nn.Identity())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in used)
        return maps


def build_backbone(model: Model, image_size: int = 512) -> Backbone:
    """Return the base network that ``model.backbone`` names, with its weights.

    Args:
        model: The experiment's ``model`` section.
        image_size: Side of the images in pixels, for the maps' sizes.

    Raises:
        UserError: An unknown name (with the nearest one), a network without feature maps or for another image size,
            weights that are unavailable or do not fit.

    Example:
        >>> backbone = build_backbone(Model(backbone="timm:test_resnet", pretrained=False), image_size=64)
        >>> backbone.strides, backbone.channels
        ([4, 8, 16, 32], [32, 48, 192, 96])
        >>> [tuple(m.shape) for m in backbone(torch.rand(1, 3, 64, 64))][-1]
        (1, 96, 2, 2)
    """
    network = create_network(model)
    try:
        return Backbone(network if model.backbone.startswith("timm:") else _stages(network), image_size)
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"model.backbone: {model.backbone} gives no feature maps for {image_size} x {image_size} images: {error}"
        ) from error


def _stages(network: nn.Module) -> Stages:
    """The stages of a torchvision network before the pooling and the classifier, in order."""
    # the feature extractor's own children, where it is one child
    children = dict(network.named_children())
    for name in ("features", "layers", "trunk_output"):
        if name in children:
            children |= dict(children.pop(name).named_children())

    # no pooling at the end; the last activation as a stage
    stages = {name: c for name, c in children.items() if not isinstance(c, nn.Identity) and name != "avgpool"}
    if isinstance(network, torchvision.models.DenseNet):
        stages["relu"] = nn.ReLU()  # its forward applies it as a function
    last = list(stages)[-1]
    if isinstance(stages[last], nn.MaxPool2d):  # VGG, AlexNet
        del stages[last]
    return Stages(OrderedDict(stages))
