"""From an engine's raw map to a heat map, and to the heat-map region: the same steps for every engine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def heat_map(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a raw map to the input and divide it by its maximum.

    No minimum is subtracted: a map that is zero everywhere stays so, and a flat one is 1 everywhere.

    Args:
        raw: (N, h, w) float32 >= 0, a class activation map after ReLU.
        size: Height and width of the input.

    Returns:
        (N, H, W) float32 in [0, 1]; zero everywhere where the raw map is zero everywhere or not finite.

    Example:
        >>> heat = heat_map(torch.tensor([[[1.0, 3.0], [2.0, 4.0]]]), (2, 2))
        >>> heat
        tensor([[[0.2500, 0.7500],
                 [0.5000, 1.0000]]])
        >>> heat_region(heat)
        tensor([[[False,  True],
                 [ True,  True]]])
    """
    heat = F.interpolate(raw.unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)
    peak = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where((peak > 0) & peak.isfinite(), heat / peak, 0.0)


def heat_region(heat: Tensor, threshold: float = 0.5) -> Tensor:
    """Return the heat-map region: where the heat map reaches a share of its maximum.

    Args:
        heat: (N, H, W) float32 in [0, 1], a :func:`heat_map`.
        threshold: Share of the maximum, in (0, 1].

    Returns:
        (N, H, W) bool; empty where the heat map is zero everywhere.
    """
    return heat >= threshold
