"""Networks by name, and networks of the user's own: strides and channels by a dry run."""

import sys
from pathlib import Path

import pytest
import torch

from experiments.errors import UserError
from experiments.models.schema import Model
from experiments.plugins.imports import make_importable
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.named import create_named
from tests.helpers.modules import write_module

NETS = """
import torch
from torch import nn


def maps(x, widths, strides):
    return [torch.nn.functional.avg_pool2d(x[:, :1], s).repeat(1, w, 1, 1) for w, s in zip(widths, strides)]


class Net(nn.Module):
    def __init__(self, pretrained=False):
        super().__init__()
        self.scale, self.unused = nn.Parameter(torch.ones(1)), nn.Linear(2, 2)
        self.pretrained = pretrained

    def forward(self, x):
        return maps(x * self.scale, [3, 5, 7], [4, 8, 8])


class Own(Net):  # makes tensors of its own, which the meta device does not take
    def forward(self, x):
        return {"one": super().forward(x + torch.full((1, 3, 1, 1), 2.0, device="cpu"))[-1]}


class Coarse(Net):
    def forward(self, x):
        return super().forward(x)[::-1]


class Text(Net):
    def forward(self, x):
        return ["no map"]


class Flat(Net):
    def forward(self, x):
        return x.flatten(1) * self.scale


class Broken(Net):
    def forward(self, x):
        return self.layers(x)


def no_network():
    return 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with networks."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    make_importable(tmp_path)
    return write_module(tmp_path, NETS)


def test_an_own_network_has_its_maps(nets: str):
    backbone = build_backbone(Model(f"{nets}.Net", pretrained=False), image_size=64)
    assert (backbone.strides, backbone.channels, backbone.map_size) == ([4, 8], [3, 7], 8)
    assert [tuple(each.shape) for each in backbone(torch.rand(2, 3, 64, 64))] == [(2, 3, 16, 16), (2, 7, 8, 8)]
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {"network.scale"}  # a parameter without a gradient would stop DDP
    assert build_backbone(Model(f"{nets}.Own"), image_size=64).strides == [8]


def test_pretrained_is_passed_where_it_is_wanted(nets: str):
    assert create_named(f"{nets}.Net", pretrained=True).pretrained
    assert not create_named(f"{nets}.Net(pretrained=False)", pretrained=True).pretrained


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("Coarse", "fine to coarse"),
        ("Text", "gives str, and no list of maps"),
        ("Flat", r"forward must return square maps \(N, C, h, h\); it returned a tensor of shape \(1, "),
        ("Broken", r"no attribute 'layers' \(.*\.py:\d+\)"),
        ("no_network", "gives a int"),
    ],
)
def test_a_wrong_network_is_one_message(nets: str, net: str, words: str):
    with pytest.raises(UserError, match=words):
        build_backbone(Model(f"{nets}.{net}"), image_size=64)


def test_an_own_network_has_no_published_head(nets: str):
    from lightning_modules.networks.native import build_native_head

    model = Model(f"{nets}.Net", head="native")
    with pytest.raises(UserError, match="no published classifier"):
        build_native_head(model, 3, build_backbone(model, 64))
