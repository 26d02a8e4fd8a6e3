"""From an engine's raw map to a heat map, and to the heat-map region: the same steps for every engine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def heat_map(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Raw map -> heat map, the same steps for every engine: resized to the input, divided by its maximum.

    No minimum is subtracted: an all-zero map stays zero everywhere, and a flat one is 1 everywhere.

    Args:
        raw: (N, h, w) float32 >= 0, a class activation map after ReLU.
        size: Height and width of the input.

    Returns:
        (N, H, W) float32 in [0, 1]; all zero where the raw map is zero or not finite.
    """
    heat = F.interpolate(raw.unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)
    peak = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where((peak > 0) & peak.isfinite(), heat / peak, 0.0)


def heat_region(heat: Tensor, threshold: float = 0.5) -> Tensor:
    """The heat-map region, (N, H, W) bool: at least ``threshold`` (0 < threshold <= 1) of the maximum."""
    return heat >= threshold
