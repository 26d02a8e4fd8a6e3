"""The feature pyramid under the box head, and the sizes of the anchors on its levels (``model.boxes.pyramid``).

``paper``        "convolution, upsample and convolution, repeated three times, followed by four convolution layers"
                 (paper 000): a 1x1 convolution, an upsampling and a 3x3 convolution for each of P5, P4, P3; then P2's
                 two, P6's and P7's, of stride 2: ten convolutions. It is RetinaNet's pyramid (Lin et al., ICCV 2017)
                 with P2 besides; the RSNA detector that the paper refers to is a RetinaNet (Gabruseva, Poplavskiy,
                 Kalinin, CVPRW 2020). P6 reads the base network's last map.
``torchvision``  the plain pyramid (Lin et al., CVPR 2017): P2 to P5, eight convolutions.

A network with fewer maps has a lower pyramid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from experiments.models.schema import Pyramid

_SMALLEST, _LARGEST = 0.06, 0.6  # chest opacities, as shares of the image's side
_SIZES = 8  # of the plain pyramid's anchors at least, over all levels
_OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # sizes on each of RetinaNet's levels; the first is four strides


def build_pyramid(kind: Pyramid, channels: Sequence[int], width: int) -> FeaturePyramidNetwork:
    """Return the pyramid over maps of these channels, fine to coarse.

    Args:
        kind: ``model.boxes.pyramid``.
        channels: Channels of each map.
        width: Channels of every level.

    Example:
        >>> from torch import nn
        >>> pyramid = build_pyramid(Pyramid.paper, [4, 6, 8, 10], width=5)
        >>> sum(isinstance(module, nn.Conv2d) for module in pyramid.modules())
        10
    """
    if kind is Pyramid.torchvision:
        return FeaturePyramidNetwork(list(channels), width)
    top = LastLevelP6P7(channels[-1], width)
    top.use_P5 = False  # torchvision would take P5 where it has as many channels as the last map
    return FeaturePyramidNetwork(list(channels), width, extra_blocks=top)


def anchor_sizes(kind: Pyramid, strides: Sequence[int], image_size: int) -> list[tuple[float, ...]]:
    """Return the sides of the square anchors in pixels on each level of the pyramid.

    On the paper's pyramid they grow with the level's stride, three an octave from four strides on, as RetinaNet's: so
    the anchors of every level overlap alike. Spread over six levels in equal steps, as on the plain pyramid, those of
    P7 would be hardly larger than its stride, and small images' boxes would fall between them.

    Args:
        kind: ``model.boxes.pyramid``.
        strides: Of the maps that the pyramid stands on, fine to coarse.
        image_size: Side of the input in pixels.

    Example:
        >>> [sizes[0] for sizes in anchor_sizes(Pyramid.paper, [4, 8, 16, 32], 512)]  # P2 to P7
        [16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
        >>> [round(size) for sizes in anchor_sizes(Pyramid.torchvision, [4, 8, 16, 32], 512) for size in sizes]
        [31, 43, 59, 82, 115, 159, 221, 307]
    """
    if kind is Pyramid.paper:
        levels = [*strides, 2 * strides[-1], 4 * strides[-1]]
        return [tuple(4 * stride * scale for scale in _OCTAVE) for stride in levels]

    # sizes in equal steps from the smallest opacity to the largest, as many on each level
    per_level = math.ceil(_SIZES / len(strides))
    step = (_LARGEST / _SMALLEST) ** (1 / (len(strides) * per_level - 1))
    sizes = [image_size * _SMALLEST * step**index for index in range(len(strides) * per_level)]
    return [tuple(sizes[i : i + per_level]) for i in range(0, len(sizes), per_level)]
