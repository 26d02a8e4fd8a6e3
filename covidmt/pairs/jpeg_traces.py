"""Which JPEG an image once was: the quality in a file's tables, or in its pixels' DCT where the tables are lost."""

from __future__ import annotations

import io
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

# The luma table of ITU-T T.81, Annex K, from which encoders scale theirs; natural order.
_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_BLOCKS = 2000  # of 8 x 8 pixels, at most so many are looked at
_ROUNDING = 1.6  # what the rounding of pixels makes of a coefficient that is zero
_USABLE = 0.2  # share of the coefficients that a table must say something about
_LEAST = 0.6  # mean agreement with a table's steps from which on it is believed
_AS_GOOD, _EQUAL = (
    0.05,
    0.001,
)  # differences in agreement: tables whose steps divide each other's, and nearly equal ones


class Traces(NamedTuple):
    """What a file tells of how it was compressed.

    Attributes:
        format: As Pillow calls it (JPEG, PNG, WEBP, ...).
        quality: Of the JPEG that it is or once was, 1-100; None: it bears no traces of one.
        source: ``file``: the quality of its tables; ``pixels``: estimated; "" for none.
        exact: Whether the file's table is one of the standard's, else the quality is that of the nearest.
        subsampling: Of the chroma, such as 4:2:0; "" where it is unknown.
    """

    format: str
    quality: int | None
    source: str
    exact: bool
    subsampling: str


def read_traces(content: bytes, grey: np.ndarray) -> Traces:
    """Return how a file was compressed.

    Args:
        content: The file.
        grey: (H, W) uint8, its decoded image.

    Example:
        >>> from datamodules.channels.encodings import jpeg
        >>> film = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        >>> read_traces(jpeg(film, 92, "4:2:2"), film)
        Traces(format='JPEG', quality=92, source='file', exact=True, subsampling='4:2:2')
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            kind = picture.format or "unknown"
            tables = getattr(picture, "quantization", None)
            sampling = get_sampling(picture) if tables and picture.mode != "L" else -1
    except OSError:
        kind, tables, sampling = "DICOM", None, -1

    if tables:
        luma = np.array(tables[0]).reshape(8, 8)
        distances = {quality: float(np.abs(luma - quality_table(quality)).mean()) for quality in range(1, 101)}
        nearest = min(distances, key=lambda quality: distances[quality])
        return Traces(kind, nearest, "file", distances[nearest] == 0, _SUBSAMPLINGS.get(sampling, ""))
    quality = estimate_quality(grey) if kind != "WEBP" else None
    return Traces(kind, quality, "pixels" if quality else "", False, "")


@cache
def quality_table(quality: int) -> np.ndarray:
    """Return the standard luma table of a quality, (8, 8) int, as libjpeg scales it.

    Example:
        >>> quality_table(92)[0].tolist()
        [3, 2, 2, 3, 4, 6, 8, 10]
    """
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return ((_LUMA * int(scale) + 50) // 100).clip(1, 255)


def estimate_quality(grey: np.ndarray) -> int | None:
    """Estimate the quality of the JPEG whose pixels these are; None: they lie on no table's steps.

    A JPEG's DCT coefficients are multiples of its table's steps, but for the rounding of pixels. Of the tables on whose
    steps the coefficients lie the coarsest is returned, as finer ones may divide it, and of equal ones the round one.

    Args:
        grey: (H, W) uint8, not resized or cropped since it was a JPEG.

    Example:
        >>> from datamodules.channels.encodings import jpeg
        >>> from datamodules.images.decode import decode
        >>> waves = np.sin(np.linspace(0, 60, 256)) * np.sin(np.linspace(0, 40, 256))[:, None]
        >>> film = (128 + 90 * waves + np.random.default_rng(0).normal(0, 6, (256, 256))).clip(0, 255).astype(np.uint8)
        >>> estimate_quality(decode(jpeg(film, 70))), estimate_quality(film)
        (70, None)
    """
    coefficients = _transform(grey)
    if coefficients is None:
        return None

    # agreement of each frequency with each step: 1 on its multiples, 0 on the average elsewhere
    agreement = np.zeros(101)
    weight = np.zeros(101)
    for row, column in np.ndindex(8, 8):
        values = coefficients[:, row, column]
        values = values[np.abs(values) > _ROUNDING]
        if row + column == 0 or len(values) < 10:
            continue
        steps = np.array([quality_table(quality)[row, column] for quality in range(1, 101)])
        distinct, place = np.unique(steps, return_inverse=True)
        multiples = values / distinct[:, None]
        is_zero = np.abs(multiples) < 0.5  # in the JPEG, but not in the pixels
        fits = np.where(is_zero, -1, np.cos(2 * np.pi * multiples)).sum(axis=1)[place]
        usable = steps > 1  # every number is a multiple of 1
        agreement[1:] += np.where(usable, fits, 0)
        weight[1:] += np.where(usable, len(values), 0)
    known = weight > _USABLE * weight.max()
    score = np.divide(agreement, weight, out=np.full(101, -1.0), where=known)
    best = score.max()
    if best < _LEAST:
        return None

    # the coarsest peak that is as good as the best: finer tables may divide its steps
    padded = np.pad(score, 1, constant_values=-1)
    peaks = (score >= np.maximum(padded[:-2], padded[2:])) & (score >= best - _AS_GOOD)
    peak = int(np.flatnonzero(peaks)[0])
    equal = [
        quality
        for quality in (peak, peak + 1, peak - 1)
        if 1 <= quality <= 100 and score[quality] > score[peak] - _EQUAL
    ]
    return max(equal, key=lambda quality: (quality % 10 == 0, quality % 5 == 0))


def _transform(grey: np.ndarray) -> np.ndarray | None:
    """Return the DCT of some 8 x 8 blocks, (n, 8, 8) float32; None where there is no block."""
    rows, columns = grey.shape[0] // 8, grey.shape[1] // 8
    blocks = grey[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    whole = blocks[(blocks.min(axis=(1, 2)) > 0) & (blocks.max(axis=(1, 2)) < 255)]  # where nothing was clipped
    blocks = whole if len(whole) else blocks
    if not len(blocks):
        return None
    chosen = np.random.default_rng(0).permutation(len(blocks))[:_BLOCKS]
    return np.stack([cv2.dct(block.astype(np.float32) - 128) for block in blocks[chosen]])
