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
a class of the user's own                        the last of those that its forward gives
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
from experiments.models.schema import Model
from experiments.plugins.registry import place_of
from lightning_modules.networks.named import is_chain
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
        network: A timm network, :class:`Stages`, or a network whose forward gives its maps, fine to coarse: a list, a
            dict or the one map.
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
        *maps, final = dry_run(self, (1, 3, image_size, image_size))
        for feature in [final, *maps]:
            if feature.ndim != 4 or feature.shape[2] != feature.shape[3]:
                shape = tuple(feature.shape)
                raise ValueError(f"forward must return square maps (N, C, h, h); it returned a tensor of shape {shape}")

        # of each stride the last map, and the final one
        strides = [2 ** round(math.log2(image_size / m.shape[-1])) for m in [*maps, final]]
        if strides != sorted(strides):
            raise ValueError(f"its maps must go from fine to coarse, and have strides {strides}")
        last = {stride: index for index, stride in enumerate(strides[:-1]) if 4 <= stride < strides[-1]}
        self._indices = sorted(last.values())
        self.strides = [*(strides[i] for i in self._indices), strides[-1]]
        self.channels = [*(maps[i].shape[1] for i in self._indices), final.shape[1]]
        self.map_size = final.shape[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps (N, channels, S / stride, S / stride), fine to coarse, of (N, 3, S, S) normalised images."""
        if hasattr(self.network, "forward_intermediates"):
            final, maps = cast("Stages", self.network).forward_intermediates(x, self._indices, output_fmt="NCHW")
            return [*maps, final]
        *maps, final = _maps_of(self.network(x))
        return [*(maps if self._indices is None else [maps[index] for index in self._indices]), final]


def _maps_of(output: object) -> list[Tensor]:
    """The maps that a network of the user's own gives."""
    maps = list(output.values()) if isinstance(output, dict) else output
    maps = list(maps) if isinstance(maps, list | tuple) else [maps]
    wrong = [each for each in maps if not isinstance(each, Tensor)]
    if wrong or not maps:
        raise TypeError(f"its forward gives {type(wrong[0]).__name__ if wrong else 'nothing'}, and no list of maps")
    return maps


def dry_run(module: nn.Module, shape: tuple[int, ...]) -> list[Tensor]:
    """Return what a module gives for an input of this shape, without numbers; it is left in train mode.

    What its last output does not depend on is taken out of its ``network``: a parameter without a gradient would stop
    DDP, and timm keeps parts of some classifiers. A network of the user's own keeps all its parts; what none of its
    maps depends on is not trained.

    Args:
        module: A module that holds a network of torchvision or timm in ``network``; changed in place.
        shape: Of its input.
    """
    network = module.get_submodule("network")
    is_own = not hasattr(network, "forward_intermediates") and isinstance(module, Backbone)
    module.eval()
    try:
        maps, used = _trace(module, shape, "meta", every=is_own)
    except (NotImplementedError, RuntimeError):
        if not is_own:
            raise
        maps, used = _trace(module, shape, "cpu", every=True)  # it makes tensors of its own
    module.train()

    # what has no gradient: whole children go, single parameters are not trained
    for child, part in [] if is_own else list(network.named_children()):
        parameters = [f"network.{child}.{name}" for name, _ in part.named_parameters()]
        if parameters and used.isdisjoint(parameters):
            setattr(network, child, nn.Identity())
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in used)
    return maps


def _trace(module: nn.Module, shape: tuple[int, ...], device: str, *, every: bool) -> tuple[list[Tensor], set[str]]:
    """Return a module's outputs, and the parameters that the last one depends on, or with ``every`` any of them."""
    tensors = {
        name: (torch.empty_like(t, device="meta") if device == "meta" else t.detach().clone()).requires_grad_(
            isinstance(t, nn.Parameter)
        )
        for name, t in chain(module.named_parameters(), module.named_buffers())
    }

    # forward and backward
    with torch.enable_grad():
        output = torch.func.functional_call(module, tensors, torch.zeros(shape, device=device))
        maps = output if isinstance(output, list) else [output]
        total = torch.stack([each.sum() for each in (maps if every else maps[-1:])]).sum()
        names = [name for name, _ in module.named_parameters()]
        if not total.requires_grad:  # a network without parameters
            return maps, set()
        gradients = torch.autograd.grad(total, [tensors[name] for name in names], allow_unused=True)
    return maps, {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


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
        return Backbone(_stages(network) if is_chain(model.backbone) else network, image_size)
    except UserError:
        raise
    except Exception as error:  # of a network of the user's own any
        raise UserError(
            f"model.backbone: {model.backbone} gives no feature maps for {image_size} x {image_size} images: "
            f"{error or type(error).__name__}{place_of(error)}"
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
