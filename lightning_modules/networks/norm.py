"""Group normalisation in the place of batch normalisation, for training with differential privacy."""

from __future__ import annotations

import math
from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def to_group_norm(network: nn.Module) -> None:
    """Replace every batch normalisation of a network, in place, by a group normalisation (Wu and He, ECCV 2018).

    32 groups, or as many as divide the channels, of two channels or more: one on its own would be set to zero where the
    map is a single cell. Pretrained scales and shifts are carried over; the
    running statistics, which have no place in a group normalisation, are lost: the maps of a pretrained network change,
    its convolutions do not, and the first epochs have to make up for it. What timm puts into its normalisation layers
    (dropout, activation) follows as layers of their own.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, _group_norm(module))


def _group_norm(batch: _BatchNorm) -> nn.Module:
    channels = batch.num_features
    groups = math.gcd(32, channels)
    while groups > 1 and channels // groups < 2:
        groups //= 2
    group = nn.GroupNorm(groups, channels, eps=batch.eps, affine=batch.affine)
    if batch.affine:
        group.load_state_dict({"weight": batch.weight.data, "bias": batch.bias.data})
    after = [cast("nn.Module", getattr(batch, name)) for name in ("drop", "act") if hasattr(batch, name)]
    after = [layer for layer in after if not isinstance(layer, nn.Identity)]
    return nn.Sequential(group, *after) if after else group
