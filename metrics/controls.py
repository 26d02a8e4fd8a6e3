"""Controls of IOL and OLS: the same scores of maps that know nothing about the image, or at other thresholds.

A lung field fills the middle of a chest X-ray, so a map that never looks can score well. The functions here return one
number per image, which is averaged beside the true one. Regions and lungs are (N, S, S) bool; NaN where an image has no
region or no lungs, as in :func:`metrics.saliency.iol`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from explain.heat import heat_region
from metrics.saliency import iol


def iol_over_thresholds(heat: Tensor, lung: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return the IOL at every region threshold.

    Args:
        heat: (N, S, S) float32 heat maps in [0, 1].
        lung: (N, S, S) bool.
        thresholds: T shares of a map's maximum, in (0, 1].

    Returns:
        (N, T) float32 in [0, 1] or NaN.

    Example:
        >>> heat = torch.tensor([[[1.0, 0.6], [0.2, 0.0]]])
        >>> lung = torch.tensor([[[True, False], [False, False]]])
        >>> iol_over_thresholds(heat, lung, [0.5, 0.9])
        tensor([[0.5000, 1.0000]])
    """
    return torch.stack([iol(heat_region(heat, threshold), lung) for threshold in thresholds], dim=1)


def energy_inside(heat: Tensor, lung: Tensor) -> Tensor:
    """Return the share of the heat map's sum that lies inside the lungs, which needs no threshold.

    The energy-based pointing game's score (Wang et al., Score-CAM, CVPRW 2020), with lungs for boxes.

    Args:
        heat: (N, S, S) float32 heat maps in [0, 1].
        lung: (N, S, S) bool.

    Returns:
        (N,) float32 in [0, 1]; NaN where the map is zero everywhere or there are no lungs.

    Example:
        >>> energy_inside(torch.tensor([[[1.0, 0.5], [0.5, 0.0]]]), torch.tensor([[[True, False], [False, False]]]))
        tensor([0.5000])
    """
    inside, whole = (heat * lung).flatten(1).sum(dim=1), heat.flatten(1).sum(dim=1)
    return torch.where(lung.flatten(1).any(dim=1), inside / whole, torch.nan)  # 0 / 0 is NaN


def centre_disc_iol(region: Tensor, lung: Tensor) -> Tensor:
    """Return the IOL of a disc in the middle of the image, of as many pixels as the image's own region.

    Args:
        region: (N, S, S) bool; only its number of pixels is read.
        lung: (N, S, S) bool.

    Returns:
        (N,) float32 in [0, 1] or NaN.

    Example:
        A region of one pixel in the corner; the disc of one pixel is the centre, which lies in the lungs.

        >>> region, lung = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
        >>> region[0, 0, 0] = lung[0, 1, 1] = True
        >>> centre_disc_iol(region, lung)
        tensor([1.])
    """
    size = lung.shape[-1]
    axis = torch.arange(size, device=lung.device) - (size - 1) / 2
    nearest_first = (axis[:, None] ** 2 + axis[None, :] ** 2).flatten().argsort(stable=True)
    inside = lung.flatten(1)[:, nearest_first].cumsum(dim=1)
    area = region.flatten(1).sum(dim=1)
    disc_inside = inside.gather(1, (area - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where((area > 0) & (inside[:, -1] > 0), disc_inside / area, torch.nan)


def pack(masks: Tensor) -> np.ndarray:
    """Pack (N, S, S) bool masks into (N, words) uint64, one bit per pixel, zeros behind the last one.

    Example:
        >>> masks = torch.eye(3, dtype=torch.bool)[None]
        >>> packed = pack(masks)
        >>> packed.shape, bool((unpack(packed, 3) == masks).all())
        ((1, 1), True)
    """
    bits = np.packbits(masks.flatten(1).cpu().numpy(), axis=1)
    return np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)


def unpack(packed: np.ndarray, size: int) -> Tensor:
    """Return the (N, size, size) bool masks that :func:`pack` packed."""
    bits = np.unpackbits(packed.view(np.uint8), axis=1, count=size * size)
    return torch.from_numpy(bits).bool().view(-1, size, size)


@dataclass(frozen=True)
class ShuffledShares:
    """How often lungs are missed by other patients' maps.

    Attributes:
        of_lungs: (N,) of each image's lungs, the share of other patients' maps that are out of them.
        of_map: (N,) of each image's map, the share of other patients' lungs that it is out of; both NaN where the image
            has no region or no lungs.
    """

    of_lungs: np.ndarray
    of_map: np.ndarray

    @property
    def values(self) -> np.ndarray:
        r"""(N,) numbers whose mean is that of ``of_lungs``, and whose variance over patients is that mean's.

        All lungs are scored under the same maps, so that the mean :math:`T` would move with other maps as with other
        lungs. It is a U-statistic; a patient, who brings both, moves it by :math:`(a_i - T) + (b_i - T)` over the
        number of patients (Hoeffding, Ann Math Stat 1948), :math:`a` of the lungs and :math:`b` of the map: the values
        are :math:`a_i + b_i - \bar{b}`. They are no shares.

        Example:
            One map of four lies outside all lungs: the other images' shares are 1 / 3 each, but one map is one map.

            >>> ShuffledShares(np.array([0, 1, 1, 1]) / 3, np.array([1.0, 0, 0, 0])).values.round(2).tolist()
            [0.75, 0.08, 0.08, 0.08]
        """
        if np.isnan(self.of_map).all():
            return self.of_lungs
        return self.of_lungs + self.of_map - np.nanmean(self.of_map)


def shuffled_out(
    regions: np.ndarray, lungs: np.ndarray, patients: Sequence[str], eta: float, *, shuffles: int = 200, seed: int = 0
) -> ShuffledShares:
    """Return how often an image's lungs are missed by *another* patient's map: the OLS that knows nothing of the image.

    Every image gets the maps of ``shuffles`` other images (of all others where there are fewer), as that many shuffles
    of the set would give it; drawn among those that have a region and another patient.

    Args:
        regions: (N, words) packed heat-map regions, see :func:`pack`.
        lungs: (N, words) packed lungs.
        patients: N ids.
        eta: IOL below which a map is out of the lungs, in [0, 1].
        shuffles: Number of maps that an image is paired with.
        seed: Seed of the draws.

    Returns:
        Shares in [0, 1]; NaN where the image has no region or no lungs itself, so that the mean is over the same
        images as the true OLS, or where no other patient has a region.

    Example:
        Two patients with the same lungs; the first one's map lies inside them, the second one's outside.

        >>> lungs = pack(torch.tensor([[[True, False]], [[True, False]]]))
        >>> regions = pack(torch.tensor([[[True, False]], [[False, True]]]))
        >>> shares = shuffled_out(regions, lungs, ["a", "b"], eta=0.4)
        >>> shares.of_lungs.tolist(), shares.of_map.tolist()
        ([1.0, 0.0], [0.0, 1.0])
    """
    area, has_lung = np.bitwise_count(regions).sum(axis=1), lungs.any(axis=1)
    people = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)[1]
    shares, rng = np.full(len(regions), np.nan), np.random.default_rng(seed)
    missed, given = np.zeros(len(regions)), np.zeros(len(regions))
    scored = np.flatnonzero(area)

    # each image's lungs under the maps of other patients
    for image in np.flatnonzero((area > 0) & has_lung):
        others = scored[people[scored] != people[image]]
        if len(others) > shuffles:
            others = rng.choice(others, shuffles, replace=False)
        if len(others):
            inside = np.bitwise_count(regions[others] & lungs[image]).sum(axis=1)
            out = (inside / area[others]).astype(np.float32) < np.float32(eta)
            shares[image] = out.mean()
            missed[others] += out
            given[others] += 1
    of_map = np.divide(missed, given, out=np.full(len(regions), np.nan), where=given > 0)
    return ShuffledShares(shares, np.where(np.isnan(shares), np.nan, of_map))
