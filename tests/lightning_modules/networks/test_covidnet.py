"""The re-implemented COVID-Net against what its paper's Figure 2 and the published table of models say."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.errors import UserError
from experiments.models.schema import Model
from lightning_modules.heads import ClassificationHead
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.covidnet import PEPX, VARIANTS, build_covidnet


@pytest.mark.parametrize(
    ("name", "millions", "multiply_adds"), [("covidnet_like_cxr4a", 40.2, 23.4), ("covidnet_like_cxr4b", 11.9, 6.0)]
)
def test_size_is_the_documented_one(name: str, millions: float, multiply_adds: float):
    with torch.device("meta"):
        network = build_covidnet(name)
        head = ClassificationHead(8 * VARIANTS[name].width, 3, 512)
    parameters = sum(p.numel() for part in (network, head) for p in part.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.05)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 480, 480))
    assert counter.get_total_flops() / 2e9 == pytest.approx(multiply_adds, abs=0.05)


def test_maps_of_the_papers_figure():
    """56 x 56 x 256, 28 x 28 x 512, 14 x 14 x 1024, 7 x 7 x 2048 of a 224-pixel image; 3, 4, 6, 3 PEPX."""
    with torch.device("meta"):
        network = build_covidnet("covidnet_like_cxr3a")
        x, shapes = torch.empty(1, 3, 224, 224), []
        for stage in network:
            x = stage(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    assert [sum(isinstance(m, PEPX) for m in stage.modules()) for stage in network] == [0, 3, 4, 6, 3]


def test_every_pepx_hears_all_that_came_before_it():
    """Long-range connections: with all but the first PEPX silent, what leaves a stage is its sum with the 1x1 one."""
    network = build_covidnet("covidnet_like_cxr4b").eval()
    stage = network.get_submodule("stage2")
    x = torch.rand(1, 124, 16, 16)
    with torch.no_grad():
        for silent in stage.get_submodule("pepx")[1:]:
            nn.init.zeros_(silent[-1][-1].weight)
        pooled = stage.pool(x)
        expected = stage.long_range(pooled) + stage.pepx[0](pooled)
        torch.testing.assert_close(stage(x), expected)
        nn.init.ones_(stage.pepx[-1][-1][-1].weight)
        torch.testing.assert_close(stage(x), expected + stage.pepx[-1](expected))


def test_it_is_a_backbone_whose_last_map_is_the_last_pepx():
    backbone = build_backbone(Model(backbone="covidnet_like_cxr4b", pretrained=False), 64)
    assert (backbone.strides, backbone.channels) == ([4, 8, 16, 32], [124, 248, 496, 992])
    maps = backbone(torch.rand(2, 3, 64, 64))
    assert maps[-1].shape == (2, 992, 2, 2)
    assert (maps[-1] >= 0).all()
    maps[-1].sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in backbone.parameters())


def test_there_are_no_imagenet_weights():
    with pytest.raises(UserError, match=r"model\.pretrained=false"):
        build_backbone(Model(backbone="covidnet_like_cxr4a"), 64)
    with pytest.raises(UserError, match="did you mean 'covidnet_like_cxr4a'"):
        build_backbone(Model(backbone="covidnet_cxr4a"), 64)
