"""One way from a file to pixels, for originals and for received images alike.

The decoder and the resize kernel are part of the measurement: another kernel alone can move the prediction
instability, so :data:`DECODER` is logged with every run.
"""

from __future__ import annotations

import io
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL
import pydicom
from PIL import Image, ImageOps, features
from pydicom.pixels import apply_modality_lut, apply_voi_lut, as_pixel_options, pixel_array
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from datamodules.images import dicom_codecs
from experiments.errors import UserError

VERSION = 2  # of this file: another one where it gives other pixels; the images in caches are decoded anew then
DECODER = (
    f"covidmt {VERSION}, pillow {PIL.__version__} (BILINEAR, antialiased; libjpeg-turbo "
    f"{features.version('libjpeg_turbo')}), pydicom {pydicom.__version__} (imagecodecs {version('imagecodecs')}, "
    f"pylibjpeg-openjpeg {version('pylibjpeg-openjpeg')})"
)
_BIT_DEPTHS = np.array([8, 10, 12, 14, 16])  # of X-ray detectors; a file may store 12 bits in 16


def decode(source: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """Read an image as grey uint8 (H, W), upright.

    * PNG, JPEG, TIFF, BMP, WebP; colour by ITU-R 601 luma (a JPEG's own Y plane), alpha ignored, EXIF orientation
      applied. More than 8 bits are scaled linearly, never clipped: white is the top of the smallest usual depth
      (8, 10, 12, 14 or 16 bits) that holds the brightest pixel, since 12-bit images are common in 16-bit files.
    * DICOM (uncompressed, JPEG, JPEG-LS, JPEG 2000, RLE): rescale slope and intercept or modality LUT, then the first
      VOI window or LUT where the file brings one, else the full range of the stored bits (found as above);
      MONOCHROME1 is inverted.

    Thread-safe.

    Args:
        source: A path or the file's bytes.
        name: What messages call it; None: its path.

    Raises:
        UserError: Missing, empty, broken, animated or multi-frame file, or one of an unknown format.

    Example:
        >>> file = io.BytesIO()
        >>> Image.fromarray(np.array([[0, 2048, 4095]], np.uint16)).save(file, "PNG")  # 12 bits in a 16-bit file
        >>> decode(file.getvalue()).tolist()
        [[0, 128, 255]]
    """
    name = name or ("image bytes" if isinstance(source, bytes) else str(source))
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not data:
            raise UserError(f"{name}: the file is empty; copy it again or take it out of the list")
        return _decode_dicom(data, name) if data[128:132] == b"DICM" else _decode_picture(data, name)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such image file") from error
    except UserError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise UserError(
            f"{name}: not a readable image (of no known format); replace it or take it out of the list"
        ) from error
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


def _decode_picture(data: bytes, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        # MPO is what phones write: a JPEG with a preview or depth map behind it; its first frame is the picture.
        if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
            raise UserError(f"{name}: holds several frames; save the one to use as PNG")
        if picture.mode == "CMYK":
            raise UserError(f"{name}: has the colours of print (CMYK), whose black is not defined; save it as grey")

        picture.draft("L", picture.size)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode == "F":
            raise UserError(f"{name}: floating-point pixels have no defined white; save it as 8- or 16-bit PNG")
        if upright.mode.startswith("I"):
            values = np.asarray(upright)
            return _to_uint8(values, 0, _white(values))
        return np.asarray(upright.convert("RGB").convert("L") if upright.mode == "P" else upright.convert("L"))


def _decode_dicom(data: bytes, name: str) -> np.ndarray:
    dataset = pydicom.dcmread(io.BytesIO(data))
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UserError(f"{name}: holds several frames; export the one to use")

    stored = _stored_values(dataset)
    if stored.ndim == 3:
        return np.asarray(Image.fromarray(stored.astype(np.uint8)).convert("L"))
    if not dataset.PhotometricInterpretation.startswith("MONOCHROME"):
        raise UserError(f"{name}: {dataset.PhotometricInterpretation} DICOM is not supported; export it as grey")

    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    if "VOILUTSequence" in dataset:
        low, high = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    else:  # a window's output spans the rescaled range of the stored bits (PS3.3 C.11.2.1.2)
        low, high = np.sort(apply_modality_lut(_stored_range(stored, dataset), dataset))
    image = _to_uint8(values, low, high)
    return 255 - image if dataset.PhotometricInterpretation == "MONOCHROME1" else image


def _stored_values(dataset: pydicom.Dataset) -> np.ndarray:
    """Return the values as they are stored: pydicom would decompress by the first installed plugin of several."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in dicom_codecs.DECODER_DEPENDENCIES:
        decoder = dicom_codecs.codec(syntax)
        return decoder.as_array(dataset, decoding_plugin="imagecodecs", **as_pixel_options(dataset))[0]
    if not syntax.is_compressed:
        return pixel_array(dataset)
    plugin = {RLELossless: "pydicom", JPEGBaseline8Bit: "pillow"}.get(syntax, "pylibjpeg")
    return pixel_array(dataset, decoding_plugin=plugin)


def _stored_range(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    bits = dataset.BitsStored
    if dataset.PixelRepresentation == 1:
        return np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1], stored.dtype)
    top = 2**bits - 1
    return np.array([0, top if "WindowWidth" in dataset else min(top, _white(stored))], stored.dtype)


def _white(values: np.ndarray) -> int:
    depth = _BIT_DEPTHS[np.searchsorted(2**_BIT_DEPTHS - 1, int(values.max())).clip(max=len(_BIT_DEPTHS) - 1)]
    return 2 ** int(depth) - 1


def _to_uint8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if (low, high) == (0, 255) and values.dtype == np.uint8:
        return values
    scaled = (values.astype(np.float32) - low) * (255 / (high - low))
    return scaled.round().clip(0, 255).astype(np.uint8)
