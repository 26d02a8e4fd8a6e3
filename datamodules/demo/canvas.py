"""Shapes of a made-up chest X-ray: polygons, lines, soft edges and noise in the frame of the anatomy.

The frame: x from the midline, y from the top, both in shares of the image's side. A canvas is (side, side).
"""

from __future__ import annotations

import cv2
import numpy as np


def smooth(points: np.ndarray, closed: bool = True) -> np.ndarray:
    """Round the corners of a line by Chaikin's corner cutting, three times.

    Args:
        points: (n, 2) in the frame.
        closed: The last point is joined to the first.

    Example:
        >>> square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        >>> smooth(square).shape, smooth(square).min(0).round(2)
        ((32, 2), array([0., 0.]))
        >>> smooth(square, closed=False)[[0, -1]]  # an open line keeps its ends
        array([[0., 0.],
               [0., 1.]])
    """
    for _ in range(3):
        a, b = (points, np.roll(points, -1, 0)) if closed else (points[:-1], points[1:])
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2)
        points = cut if closed else np.concatenate([points[:1], cut, points[-1:]])
    return points


def fill(side: int, *polygons: np.ndarray) -> np.ndarray:
    """Draw filled, smoothed polygons on a new canvas, (side, side) float32 of 0-1."""
    canvas = np.zeros((side, side), np.uint8)  # OpenCV smooths edges in 8 bits alone
    cv2.fillPoly(canvas, [_to_fixed_point(smooth(p), side) for p in polygons], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def stroke(canvas: np.ndarray, paths: np.ndarray, width: float, hollow: bool = True, value: float = 1.0) -> None:
    """Draw (..., n, 2) lines on a uint8 canvas; a hollow one has a bright rim, as the cortex of a bone has."""
    points = [*_to_fixed_point(paths, len(canvas)).reshape(-1, *paths.shape[-2:])]
    thick = max(1, round(width * len(canvas)))
    cv2.polylines(canvas, points, False, 255 * value, thick, cv2.LINE_AA, 4)
    if hollow and thick > 3:
        cv2.polylines(canvas, points, False, 158 * value, thick - 3, cv2.LINE_AA, 4)


def thickness(mask: np.ndarray, depth: float) -> np.ndarray:
    """Return the thickness of a body with that outline: it rises from its edge to 1 at ``depth`` inside."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / (depth * len(mask))
    return np.sqrt(1 - (1 - np.clip(distance, 0, 1)) ** 2)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a canvas by a Gaussian of ``sigma`` shares of its side; a uint8 one becomes float32 of 0-1."""
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / 255
    return cv2.GaussianBlur(image, (0, 0), sigma * len(image))


def ramp(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map ``low`` to 0 and ``high`` to 1, and clip what lies beyond.

    Example:
        >>> ramp(np.array([0.0, 1.0, 1.5, 9.0]), 1, 2)
        array([0. , 0. , 0.5, 1. ], dtype=float32)
    """
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def cloud(rng: np.random.Generator, side: int, grain: int) -> np.ndarray:
    """Draw smooth noise of unit variance whose specks are side * grain / 512 pixels wide."""
    n = max(2, round(512 / grain))
    return cv2.resize(rng.standard_normal((n, n), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)


def _to_fixed_point(points: np.ndarray, side: int) -> np.ndarray:
    """Convert the frame's coordinates to OpenCV's fixed point (4 fractional bits)."""
    return np.round(((points + np.array((0.5, 0.0))) * side - 0.5) * 16).astype(np.int32)
