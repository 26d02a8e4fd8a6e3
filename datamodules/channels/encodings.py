"""Plain steps of a channel: scale an X-ray down, and encode it as a JPEG, WebP or PNG file."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def fit_inside(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale an image down with antialiasing until it fits inside a rectangle; a smaller one stays as it is.

    Args:
        image: (H, W) uint8.
        width: The rectangle's, in pixels.
        height: The rectangle's, in pixels.

    Returns:
        uint8, in the proportions of the image.

    Example:
        >>> fit_inside(np.zeros((1700, 3200), np.uint8), 1600, 1600).shape
        (850, 1600)
        >>> fit_inside(np.zeros((60, 80), np.uint8), 1600, 1600).shape
        (60, 80)
    """
    picture = Image.fromarray(image)
    picture.thumbnail((width, height), Image.Resampling.LANCZOS, reducing_gap=None)
    return np.asarray(picture)


def shrink(image: np.ndarray, side: int) -> bytes:
    """Fit an image inside ``side`` x ``side`` pixels with antialiasing, and encode it as a PNG."""
    return _encode(fit_inside(image, side, side), "PNG", compress_level=1)


def jpeg(image: np.ndarray, quality: int, subsampling: str = "4:2:0") -> bytes:
    """Encode an image as a baseline JPEG with the standard tables, in three channels as phones write them.

    Args:
        image: (H, W) uint8; its size is kept.
        quality: 1-100.
        subsampling: Of the chroma, one of :data:`SUBSAMPLINGS`.

    Example:
        >>> film = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
        >>> len(jpeg(film, 30)) < len(jpeg(film, 70)) < len(jpeg(film, 95))
        True
    """
    return _encode(image, "JPEG", quality=quality, subsampling=subsampling)


def webp(image: np.ndarray, quality: int) -> bytes:
    """Encode an image as a lossy WebP of that quality (1-100); its size is kept."""
    return _encode(image, "WEBP", quality=quality)


def _encode(image: np.ndarray, encoding: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(file, encoding, **options)
    return file.getvalue()
