"""ROI Hide-and-Seek (paper 001): an image in one of five representations, made from its lung mask.

As in the published code of the paper (Electro1111/COVID_19_CXR_CLASSIFICATION, segmentation_scripts): the lungs are the
two largest connected areas of the mask, and each has a box of its own; what is hidden is black (0).

It is done at the network's input size, on the same lungs that OLS is measured with. Where a network could have learned
from the shape of a hidden lung, the boxes leave nothing of it but its extent.
"""

from __future__ import annotations

import cv2
import numpy as np

from experiments.errors import UserError
from experiments.schema import View


def hide(image: np.ndarray, lung: np.ndarray, view: View, name: str = "image") -> np.ndarray:
    """Return an image in a representation.

    Args:
        image: (S, S) uint8.
        lung: (S, S) bool, the lung fields.
        view: The representation; ``original`` gives the image itself.
        name: Of the image, for messages.

    Returns:
        (S, S) uint8, black where hidden.

    Raises:
        UserError: The representation needs lungs, and the mask is empty.

    Example:
        >>> image = np.full((1, 4), 9, np.uint8)
        >>> lung = np.array([[False, True, True, False]])
        >>> hide(image, lung, View.lungs_removed).tolist(), hide(image, lung, View.lungs_isolated).tolist()
        ([[9, 0, 0, 9]], [[0, 9, 9, 0]])
    """
    if view is View.original:
        return image
    if not lung.any():
        raise UserError(f"{name}: no lung was found in it, so there is no data.view={view.value} of it; leave it out")
    return np.where(_visible(lung, view), image, np.uint8(0))


def _visible(lung: np.ndarray, view: View) -> np.ndarray:
    """(S, S) bool: what the representation lets be seen."""
    count, areas, stats, _ = cv2.connectedComponentsWithStats(lung.astype(np.uint8))
    largest = 1 + np.argsort(stats[1:, cv2.CC_STAT_AREA])[-2:] if count > 1 else []
    if view in (View.lungs_isolated, View.lungs_removed):
        lungs = np.isin(areas, largest)
        return lungs if view is View.lungs_isolated else ~lungs

    boxes = np.zeros_like(lung)
    for left, top, width, height, _ in stats[largest]:
        boxes[top : top + height, left : left + width] = True
    return boxes if view is View.lungs_framed else ~boxes
