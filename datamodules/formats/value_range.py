"""The range of grey values that a picture without a window is shown in: all that is there, but single marker pixels."""

from __future__ import annotations

import numpy as np

# A value may lie so far beyond the range of all but so small a share of the pixels, in shares of that range. Markers of
# lead and dead pixels lie beyond; of 700 real films with 8 bits no range was cut by more than 5 %.
MARKERS, BEYOND = 0.001, 0.05
_BLOCK = 2**20  # pixels that are counted or looked up at once: more would take memory, fewer time


def robust_range(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the lowest and the highest value, those of single marker pixels apart.

    On either side at most :data:`MARKERS` of the pixels are left out, and only those that lie more than :data:`BEYOND`
    of the others' range beyond them. So a film's range is its true one wherever its values have no gap, and moves
    little from film to film of one detector.

    Args:
        values: (n,) ascending.
        counts: (n,) how many pixels have each.

    Example:
        >>> film, marker = np.arange(600, 3201), 16383
        >>> robust_range(np.append(film, marker), np.append(np.full(len(film), 9), 1))
        (600.0, 3200.0)
    """
    counted = counts > 0
    values, counts = values[counted], counts[counted]
    allowed = int(MARKERS * counts.sum())
    low = values[np.searchsorted(np.cumsum(counts), allowed, side="right")]
    high = values[::-1][np.searchsorted(np.cumsum(counts[::-1]), allowed, side="right")]
    if high <= low:  # nearly all of one grey
        return float(values[0]), float(values[-1])

    reach = BEYOND * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    return float(inside[0]), float(inside[-1])


def scale_to_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as float64 in [0, 1]: black at ``low`` and below, white at ``high`` and above.

    A picture of one grey has no range: it is black.

    Example:
        >>> scale_to_range(np.array([0, 5, 20]), 0, 10).tolist()
        [0.0, 0.5, 1.0]
    """
    if high <= low:
        return np.zeros(np.shape(values))
    return ((np.asarray(values, np.float64) - low) / (high - low)).clip(0, 1)


def count_words(words: np.ndarray) -> np.ndarray:
    """Return how many pixels have each word: (256,) or (65536,) int64.

    Args:
        words: uint8 or uint16, any shape.

    Example:
        >>> count_words(np.array([[0, 2], [2, 2]], np.uint8))[:3].tolist()
        [1, 0, 3]
    """
    total = np.zeros(2 ** (8 * words.itemsize), np.int64)
    for block in _blocks(words):
        total += np.bincount(block.ravel(), minlength=len(total))
    return total


def look_up(words: np.ndarray, greys: np.ndarray) -> np.ndarray:
    """Return each word's grey as uint8.

    Args:
        words: (H, W) uint8 or uint16.
        greys: (256,) or (65536,) float in [0, 1].

    Example:
        >>> look_up(np.array([[0, 255]], np.uint8), np.linspace(0, 1, 256)).tolist()
        [[0, 255]]
    """
    table = to_uint8(greys)
    if words.dtype == np.uint8 and np.array_equal(table, np.arange(256)):
        return words

    pixels = np.empty(words.shape, np.uint8)
    for block, target in zip(_blocks(words), _blocks(pixels), strict=True):
        np.take(table, block, out=target, mode="clip")  # with mode="raise" numpy takes a copy
    return pixels


def to_uint8(greys: np.ndarray) -> np.ndarray:
    """Round greys of [0, 1] to uint8 of 0 to 255.

    Example:
        >>> to_uint8(np.array([0, 0.5, 1])).tolist()
        [0, 128, 255]
    """
    return (greys * 255).round().astype(np.uint8)


def _blocks(pixels: np.ndarray) -> list[np.ndarray]:
    """Cut into rows, some million pixels at a time."""
    each = max(_BLOCK // max(pixels[0].size, 1), 1)
    return [pixels[start : start + each] for start in range(0, len(pixels), each)]
