"""One way from a file to pixels, for originals and for received images alike.

The decoder and the resize kernel are part of the measurement: another kernel alone can move the prediction
instability, so :data:`DECODER` is logged with every run.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL
import pydicom
from PIL import Image, features

from datamodules.formats.dicom import decode_dicom, is_dicom
from datamodules.formats.files import read_regular
from datamodules.formats.limits import most_bytes
from datamodules.formats.raster import decode_raster
from datamodules.formats.record import Picture
from experiments.errors import UserError
from experiments.names import printable
from experiments.schema import MAX_MEGAPIXELS

VERSION = 4  # of the formats: another one where they give other pixels; the images in caches are decoded anew then
DECODER = (
    f"covidmt {VERSION}, pillow {PIL.__version__} (BILINEAR, antialiased; libjpeg-turbo "
    f"{features.version('libjpeg_turbo')}), pydicom {pydicom.__version__} (imagecodecs {version('imagecodecs')})"
)


def decode(source: str | Path | bytes, name: str | None = None, megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """Read an image as grey uint8 (H, W), upright.

    * PNG, JPEG, TIFF, BMP, WebP, GIF: colour by ITU-R 601 luma (a JPEG's own Y plane), alpha ignored, EXIF orientation
      applied. Eight bits stay as they are. More are shown in the full range of what is there, single marker pixels
      apart (`datamodules.formats.value_range`).
    * DICOM, with preamble or without, in all usual compressions: modality, VOI, presentation and padding as
      `datamodules.formats.display` does them; without a usable window or VOI LUT more than 8 bits are shown in the full
      range of what is there.

    Thread-safe.

    Args:
        source: A path or the file's bytes.
        name: What messages call it; None: its path.
        megapixels: At most so many million pixels (``data.max_megapixels``); looked at before anything is decoded.

    Raises:
        UserError: Missing, empty, broken, animated or multi-frame file, no regular file, one of an unknown format, or
            one with too many pixels.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.fromarray(np.array([[0, 2048, 4095]], np.uint16)).save(file, "PNG")  # 12 bits in a 16-bit file
        >>> decode(file.getvalue()).tolist()
        [[0, 128, 255]]
    """
    return read_picture(source, name, megapixels).pixels


def read_picture(source: str | Path | bytes, name: str | None = None, megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Read an image as :func:`decode` does, with the record of how it came from its file.

    Args:
        source: A path or the file's bytes.
        name: What messages call it; None: its path.
        megapixels: At most so many million pixels.

    Raises:
        UserError: As :func:`decode`.
    """
    name = printable(name or ("image bytes" if isinstance(source, bytes) else str(source)))
    try:
        data = source if isinstance(source, bytes) else read_regular(source, most_bytes(megapixels))
        if not data:
            raise UserError(f"{name}: the file is empty; copy it again or take it out of the list")
        return decode_dicom(data, name, megapixels) if is_dicom(data) else decode_raster(data, name, megapixels)
    except UserError:
        raise
    except Exception as error:  # the decoders raise nearly everything: OSError, SyntaxError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: not a readable image ({reason}); replace it or take it out of the list") from error


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 (H, W) to uint8 (size, size), antialiased bilinear, not keeping the aspect ratio (as the paper).

    Example:
        >>> checkerboard = np.array([[0, 200], [200, 0]], np.uint8)
        >>> resize(checkerboard, 1).tolist()
        [[100]]
    """
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def crop_top(image: np.ndarray, share: float) -> np.ndarray:
    """Return an image or mask (H, W) without this share of its rows, those at the top."""
    return image[int(share * len(image)) :]
