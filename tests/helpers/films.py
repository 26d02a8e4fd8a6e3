"""Noise as an image, and the settings of the JPEG that a channel made of it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile


def luma(sent):
    """The first entry of the JPEG's luma quantisation table, and the side of its chroma against its luma."""
    picture = JpegImageFile(io.BytesIO(sent))
    return picture.quantization[0][0], picture.layer[0][1:3]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def write_film(path: Path, seed: int, side: int = 40) -> None:
    """Noise as a PNG."""
    Image.fromarray(noise(side, side, seed)).save(path)
