"""Group normalisation in the place of batch normalisation, for training with differential privacy."""

from __future__ import annotations

import math
from typing import TypeAlias, cast

from torch import nn

BatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
InstanceNorm: TypeAlias = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
_EXTRAS = ("drop", "act")  # what timm keeps inside its normalisation layers


def to_group_norm(network: nn.Module) -> None:
    """Replace every batch normalisation of a network, in place, by a group normalisation (Wu and He, ECCV 2018).

    There are 32 groups, or as many as divide the channels, of two channels or more: a channel on its own would become
    zero where the map is a single cell. Pretrained scales and shifts are kept. The running statistics, which a group
    normalisation does not have, are lost: the maps of a pretrained network change, its convolutions do not, and the
    first epochs have to make up for it. What timm keeps inside its normalisation layers (dropout, activation) follows
    as layers of their own.

    Args:
        network: The network, changed in place.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 48, 3), nn.BatchNorm2d(48))
        >>> to_group_norm(network)
        >>> network[1]  # 16 groups of three channels
        GroupNorm(16, 48, eps=1e-05, affine=True...)
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, BatchNorm):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, _group_norm(module))


def _group_norm(batch: BatchNorm) -> nn.Module:
    channels = batch.num_features
    groups = math.gcd(32, channels)
    while groups > 1 and channels // groups < 2:
        groups //= 2

    group = nn.GroupNorm(groups, channels, eps=batch.eps, affine=batch.affine)
    if batch.affine:
        group.load_state_dict({"weight": batch.weight.data, "bias": batch.bias.data})

    extras = [cast("nn.Module", getattr(batch, name)) for name in _EXTRAS if hasattr(batch, name)]
    layers = [layer for layer in extras if not isinstance(layer, nn.Identity)]
    return nn.Sequential(group, *layers) if layers else group
