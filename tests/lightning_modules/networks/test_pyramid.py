from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.models.schema import BoxHeadSettings, Pyramid
from lightning_modules.heads import BoxHead
from lightning_modules.networks.pyramid import anchor_sizes, build_pyramid


def run(kind: Pyramid, channels: list[int], side: int):
    pyramid = build_pyramid(kind, channels, 5)
    levels = pyramid({str(i): torch.rand(1, c, side >> i, side >> i) for i, c in enumerate(channels)})
    convolutions = [module for module in pyramid.modules() if isinstance(module, nn.Conv2d)]
    return [level.shape[-1] for level in levels.values()], convolutions


def test_the_papers_pyramid_has_ten_convolutions_and_six_levels():
    """Three times a 1x1 convolution before the upsampling and a 3x3 after it; P2's two, P6's and P7's."""
    sides, convolutions = run(Pyramid.paper, [4, 6, 8, 10], 128)
    assert sides == [128, 64, 32, 16, 8, 4]  # P2 to P7 of a 512-pixel image
    assert [c.kernel_size[0] for c in convolutions].count(1) == 4
    assert [c.kernel_size[0] for c in convolutions].count(3) == 6
    assert len(convolutions) == 10
    assert [(c.in_channels, c.stride) for c in convolutions[-2:]] == [(10, (2, 2)), (5, (2, 2))]


def test_torchvisions_pyramid_has_eight_convolutions_and_four_levels():
    sides, convolutions = run(Pyramid.torchvision, [4, 6, 8, 10], 128)
    assert sides == [128, 64, 32, 16]
    assert len(convolutions) == 8


@pytest.mark.parametrize("channels", [[10], [6, 10], [4, 6, 8, 5]])  # of the last, P5 has as many channels as C5
def test_p6_reads_the_networks_last_map(channels):
    pyramid = build_pyramid(Pyramid.paper, channels, 5)
    maps = {str(i): torch.zeros(1, c, 16 >> i, 16 >> i) for i, c in enumerate(channels)}
    for layer in pyramid.inner_blocks.parameters():
        nn.init.zeros_(layer)  # P2 to P5 hear nothing of the maps
    before = pyramid(maps)["p6"]
    maps[str(len(channels) - 1)] += 1
    assert not torch.equal(pyramid(maps)["p6"], before)


def test_anchors_of_the_papers_pyramid_overlap_alike_on_every_level():
    strides = [4, 8, 16, 32, 64, 128]
    sizes = anchor_sizes(Pyramid.paper, strides[:4], 512)
    assert [tuple(size / stride for size in level) for level, stride in zip(sizes, strides, strict=True)] == [
        pytest.approx((4, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)))
    ] * 6


@pytest.mark.parametrize("size", [64, 128, 512])
def test_anchors_lie_on_the_levels_of_their_strides(size):
    settings = BoxHeadSettings(channels=4, pyramid=Pyramid.paper)
    head = BoxHead([4] * 4, size, settings, strides=[4, 8, 16, 32])
    sides = [size // stride for stride in (4, 8, 16, 32)]
    anchors = head([torch.rand(1, 4, side, side) for side in sides]).anchors
    cells = [*sides, max(sides[-1] // 2, 1), max(sides[-1] // 4, 1)]
    per_level = [anchors[sum(c**2 for c in cells[:i]) * 9 :][: cells[i] ** 2 * 9] for i in range(6)]
    areas = [float((level[:, 2:] - level[:, :2]).prod(dim=1).sqrt().min()) for level in per_level]
    assert areas == pytest.approx([16, 32, 64, 128, 256, 512], rel=0.05)
