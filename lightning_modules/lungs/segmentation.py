"""What a segmenter draws on a picture: lungs, heart, and how the picture lies."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor
from torch.nn.functional import interpolate

from experiments.lungs.poses import POSES

_SURE = 0.5  # probability that a picture is an upright frontal film, below which it is said what it looks like


class Segmentation(NamedTuple):
    """The answer of a segmenter to N pictures.

    Attributes:
        lungs: (N, S, S) float32, the probability of lung: both lung fields, tidied by :func:`tidy`.
        heart: (N, S, S) float32, the probability of heart; None: the segmenter does not draw it.
        poses: (N, P) probabilities of :data:`~experiments.lungs.poses.POSES`; None: the segmenter does not say.
    """

    lungs: Tensor
    heart: Tensor | None = None
    poses: Tensor | None = None

    @property
    def pose_names(self) -> list[str | None]:
        """The pose of each picture, of :data:`~experiments.lungs.poses.POSES`; None where it is not said."""
        if self.poses is None:
            return [None] * len(self.lungs)
        other = 1 + self.poses[:, 1:].argmax(dim=1)
        return [POSES[0 if row[0] >= _SURE else int(index)] for row, index in zip(self.poses, other, strict=True)]


def tidy(probabilities: Tensor, count: int) -> Tensor:
    """Return probabilities of which only the largest areas of 0.5 and above are left, without holes.

    Args:
        probabilities: (N, H, W).
        count: How many 8-connected areas may stay: two lungs, one heart.

    Returns:
        (N, H, W): 0 in the areas that go, 1 in the holes; all else as it was.

    Example:
        >>> row = torch.tensor([[[0.9, 0.8, 0.1, 0.6, 0.2, 0.7, 0.9]]])
        >>> tidy(row, count=2)
        tensor([[[0.9000, 0.8000, 0.1000, 0.0000, 0.2000, 0.7000, 0.9000]]])
    """
    return torch.stack([_tidy_one(map_, count) for map_ in probabilities])


def _tidy_one(probability: Tensor, count: int) -> Tensor:
    mask = (probability >= 0.5).cpu().numpy()
    found, areas, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    kept = mask
    if found > count + 1:  # the background is an area too
        kept = np.isin(areas, 1 + np.argsort(stats[1:, cv2.CC_STAT_AREA])[-count:])
    dropped, holes = (torch.from_numpy(part).to(probability.device) for part in (mask & ~kept, _holes(kept)))
    return probability.masked_fill(dropped, 0).masked_fill(holes, 1)


def _holes(mask: np.ndarray) -> np.ndarray:
    return binary_fill_holes(mask) & ~mask


def mask_at(probability: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask of one probability map at an image's own size: the map is resized first, so edges are smooth.

    Args:
        probability: (S, S).
        shape: Height and width of the image.

    Returns:
        (H, W) bool.

    Example:
        >>> mask_at(torch.tensor([[0.0, 1.0]]), (1, 4)).tolist()
        [[False, False, True, True]]
    """
    full = interpolate(probability[None, None].float(), shape, mode="bilinear", antialias=True)[0, 0]
    return (full >= 0.5).cpu().numpy()
