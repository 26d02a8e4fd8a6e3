"""COVID-Net, re-implemented: the PEPX design and long-range connections of its paper's Figure 2.

Wang, Lin, Wong: COVID-Net, Scientific Reports 10, 19549 (2020), arXiv:2003.09871. The published networks are TensorFlow
graphs that a closed tool made; what of them is public, and what here is our choice, is in docs/covidnet.md.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from experiments.errors import UserError

_DEPTHS = (3, 4, 6, 3)  # PEPX of each stage (Figure 2)
_STEM = 64  # channels of the 7x7 convolution (Figure 2)


class Variant(NamedTuple):
    """What distinguishes the variants.

    Attributes:
        width: Channels of the first stage; every other stage has twice those of the one before.
        projection: Width inside a PEPX before and after its depth-wise part, share of its output's. Our choice.
        expansion: Width of the depth-wise part, share of the output's. Our choice.
    """

    width: int
    projection: float = 0.4
    expansion: float = 0.8


# The widths of Figure 2 have, with the default classification head, the 40.2 million parameters that CXR3-A and CXR4-A
# are published with (they are one size, of two training sets); narrower ones the 11.7 million of CXR4-B.
VARIANTS = {
    "covidnet_like_cxr3a": Variant(256),
    "covidnet_like_cxr4a": Variant(256),
    "covidnet_like_cxr4b": Variant(124),
}


def build_covidnet(name: str) -> nn.Sequential:
    """Return a variant of :data:`VARIANTS`, freshly initialised, without a classifier: stem and four stages in a row.

    Images (N, 3, S, S) become maps of stride 2 (the stem's), 4, 8, 16 and 32.

    Args:
        name: A key of :data:`VARIANTS`.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # shapes without numbers
        ...     maps = build_covidnet("covidnet_like_cxr4b")(torch.empty(1, 3, 64, 64))
        >>> tuple(maps.shape)
        (1, 992, 2, 2)
    """
    variant = VARIANTS[name]
    stages: OrderedDict[str, nn.Module] = OrderedDict(stem=_convolution(3, _STEM, 7, stride=2))

    # four stages, each twice as wide as the one before
    channels = _STEM
    for index, depth in enumerate(_DEPTHS):
        width = variant.width * 2**index
        stages[f"stage{index + 1}"] = Stage(channels, width, depth, variant, last=index == len(_DEPTHS) - 1)
        channels = width

    network = nn.Sequential(stages)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _build_without_weights(name: str, pretrained: bool = False) -> nn.Sequential:
    if pretrained:
        raise UserError(
            f"model.pretrained: there are no ImageNet weights of {name}, a re-implementation (docs/covidnet.md); set "
            "model.pretrained=false"
        )
    return build_covidnet(name)


# as the entry points name them
covidnet_like_cxr3a = partial(_build_without_weights, "covidnet_like_cxr3a")
covidnet_like_cxr4a = partial(_build_without_weights, "covidnet_like_cxr4a")
covidnet_like_cxr4b = partial(_build_without_weights, "covidnet_like_cxr4b")


class PEPX(nn.Sequential):
    """Projection, expansion, 3x3 depth-wise convolution, projection, extension (Figure 2); the last one is linear.

    Args:
        channels: Channels of the input.
        width: Channels of the output.
        variant: The widths inside.
    """

    def __init__(self, channels: int, width: int, variant: Variant) -> None:
        narrow, wide = (8 * round(share * width / 8) for share in (variant.projection, variant.expansion))
        super().__init__(
            _convolution(channels, narrow),
            _convolution(narrow, wide),
            _convolution(wide, wide, 3, groups=wide),
            _convolution(wide, narrow),
            _convolution(narrow, width, activation=False),
        )


class Stage(nn.Module):
    """Pool, then run a row of PEPX, each fed with the sum of all that came before it in the stage (Figure 2).

    Beside the first PEPX a 1x1 convolution carries the stage's input along (the long-range connection): its output is
    part of every sum. What leaves the stage is the sum of all, which both of the next stage's inputs take.

    Args:
        channels: Channels of the input.
        width: Channels of the output.
        depth: Number of PEPX.
        variant: The widths inside them.
        last: End with a ReLU: the network's last map, its last PEPX with the connections that Figure 2 adds to it.
    """

    def __init__(self, channels: int, width: int, depth: int, variant: Variant, *, last: bool) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.long_range = _convolution(channels, width, activation=False)
        self.pepx = nn.ModuleList(PEPX(width if index else channels, width, variant) for index in range(depth))
        self.activation = nn.ReLU() if last else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, S / 2, S / 2) of (N, channels, S, S)."""
        x = self.pool(x)
        total = self.long_range(x)
        for index, pepx in enumerate(self.pepx):
            total = total + pepx(total if index else x)
        return self.activation(total)


def _convolution(
    channels: int, width: int, side: int = 1, *, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, side, stride, padding=side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))
