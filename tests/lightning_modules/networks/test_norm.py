from __future__ import annotations

import torch
from torch import nn

from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.norm import to_group_norm
from tests.helpers.tiny_experiment import experiment


def test_group_norm_keeps_pretrained_scales():
    network = nn.Sequential(nn.Conv2d(1, 48, 3), nn.BatchNorm2d(48), nn.BatchNorm2d(8, affine=False))
    nn.init.normal_(network[1].weight)
    weight = network[1].weight.detach().clone()
    to_group_norm(network)
    assert [(type(layer), layer.num_groups) for layer in network[1:]] == [(nn.GroupNorm, 16), (nn.GroupNorm, 4)]
    assert torch.equal(network[1].weight, weight)
    both = MultiTaskModule(experiment("active_tasks=[covidx]", "model.norm=group")).state_dict()
    assert not any("running_mean" in name for name in both)
