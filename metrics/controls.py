"""What IOL and OLS say by themselves: the same scores of maps that know nothing about the image.

A lung field fills the middle of a chest X-ray, so a map that never looks can score well. The functions here give one
number an image, which is averaged beside the true one. Regions and lungs are (N, S, S) bool; NaN where an image has no
region or no lungs, as in :func:`metrics.saliency.iol`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from explain.heat import heat_region
from metrics.saliency import iol


def iol_over_thresholds(heat: Tensor, lung: Tensor, thresholds: Sequence[float]) -> Tensor:
    """IOL at every region threshold: (N, S, S) float32 heat maps -> (N, number of thresholds)."""
    return torch.stack([iol(heat_region(heat, threshold), lung) for threshold in thresholds], dim=1)


def energy_inside(heat: Tensor, lung: Tensor) -> Tensor:
    """Share of the heat map's sum that lies inside the lungs, (N,) float32: needs no threshold.

    The energy-based pointing game's score (Wang et al., Score-CAM, CVPRW 2020), with lungs for boxes.
    """
    inside, whole = (heat * lung).flatten(1).sum(dim=1), heat.flatten(1).sum(dim=1)
    return torch.where((whole > 0) & lung.flatten(1).any(dim=1), inside / whole, torch.nan)


def centre_disc_iol(region: Tensor, lung: Tensor) -> Tensor:
    """IOL of a disc in the middle of the image, of as many pixels as the image's own region: (N,) float32."""
    size = lung.shape[-1]
    axis = torch.arange(size, device=lung.device) - (size - 1) / 2
    nearest_first = (axis[:, None] ** 2 + axis[None, :] ** 2).flatten().argsort(stable=True)
    inside = lung.flatten(1)[:, nearest_first].cumsum(dim=1)
    area = region.flatten(1).sum(dim=1)
    found = inside.gather(1, (area - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where((area > 0) & (inside[:, -1] > 0), found / area, torch.nan)


def pack(masks: Tensor) -> np.ndarray:
    """(N, S, S) bool -> (N, words) uint64, a bit a pixel, zeros behind the last one."""
    bits = np.packbits(masks.flatten(1).cpu().numpy(), axis=1)
    return np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)


def unpack(packed: np.ndarray, size: int) -> Tensor:
    """Inverse of :func:`pack`: (N, size, size) bool."""
    bits = np.unpackbits(packed.view(np.uint8), axis=1, count=size * size)
    return torch.from_numpy(bits).bool().view(-1, size, size)


def shuffled_out(
    regions: np.ndarray, lungs: np.ndarray, patients: Sequence[str], eta: float, *, shuffles: int = 200, seed: int = 0
) -> np.ndarray:
    """How often an image's lungs are missed by *another* patient's map: the OLS that knows nothing of this image.

    Every image gets the maps of ``shuffles`` other images (all others where there are no more), as many shuffles of the
    set would give it; drawn among those that have a region and another patient.

    Args:
        regions: (N, words) packed heat-map regions, see :func:`pack`.
        lungs: (N, words) packed lungs.
        patients: N ids.
        eta: IOL below which a map is out of the lungs.
        shuffles: Maps an image is paired with.
        seed: Of the draws.

    Returns:
        (N,) shares in [0, 1]; NaN where the image has no region or no lungs itself, so that the mean is over the same
        images as the true OLS, or where no other patient has a region.
    """
    area, has_lung = np.bitwise_count(regions).sum(axis=1), lungs.any(axis=1)
    people = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)[1]
    shares, rng = np.full(len(regions), np.nan), np.random.default_rng(seed)
    scored = np.flatnonzero(area)
    for image in np.flatnonzero((area > 0) & has_lung):
        others = scored[people[scored] != people[image]]
        if len(others) > shuffles:
            others = rng.choice(others, shuffles, replace=False)
        if len(others):
            inside = np.bitwise_count(regions[others] & lungs[image]).sum(axis=1)
            shares[image] = np.mean((inside / area[others]).astype(np.float32) < np.float32(eta))
    return shares
