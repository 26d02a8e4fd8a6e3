"""PNG, JPEG, TIFF, ... by Pillow, and HEIC where pillow-heif is installed; the size is looked at first."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from datamodules.formats.limits import require_size
from datamodules.formats.record import DisplayRecord, Picture
from datamodules.formats.value_range import count_words, look_up, robust_range, scale_to_range
from experiments.errors import UserError

# How a file begins -> what reads it. Pillow's own choice among all that it knows would also start other programs (EPS).
_SIGNATURES: dict[bytes, Callable[..., ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": jpeg_factory,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,  # of 64-bit offsets (BigTIFF)
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
    b"\0\0\0\x0cjP  ": Jpeg2KImageFile,
    b"\xff\x4f\xff\x51": Jpeg2KImageFile,
}
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_WHITE_IS_ZERO, _PHOTOMETRIC, _BITS = 0, 262, 258  # of TIFF
_ORIENTATION = 274  # of EXIF: what a camera's turn is told by
# -> whether left and right are exchanged, then by how many right angles to turn to the left
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
_DEPTHS = (8, 10, 12, 14, 16)  # bits of detectors


def decode_raster(data: bytes, name: str, megapixels: float) -> Picture:
    """Decode a picture of one frame; colours by ITU-R 601 luma (a JPEG's own), opacity ignored, EXIF turns applied.

    Args:
        data: The file's bytes.
        name: What messages call it.
        megapixels: At most so many million pixels, see `limits`.

    Raises:
        UserError: No known format, too many pixels, several frames, or values without a defined white.
        Exception: As Pillow raises them, where the file is broken.
    """
    with open_raster(data, name, megapixels) as picture:
        if picture.mode == "CMYK":
            raise UserError(f"{name}: has the colours of print (CMYK), whose black is not defined; save it as grey")
        if picture.mode == "F":
            raise UserError(f"{name}: floating-point pixels have no defined white; save it as 8- or 16-bit PNG")
        kind = picture.format or "unknown"
        if picture.mode.startswith("I") or _has_deep_colours(data, picture):
            return _show_deep(data, picture, kind)

        picture.draft("L", picture.size)
        ImageOps.exif_transpose(picture, in_place=True)  # else it makes a copy, and so does each conversion
        colours = picture.convert("RGB") if picture.mode == "P" else picture
        grey = colours if colours.mode == "L" else colours.convert("L")
        return Picture(np.asarray(grey), DisplayRecord(kind))


def open_raster(data: bytes, name: str, megapixels: float) -> ImageFile:
    """Open a picture of one frame with Pillow; nothing is decoded yet.

    Args:
        data: The file's bytes.
        name: What messages call it.
        megapixels: At most so many million pixels, see `limits`.

    Raises:
        UserError: No known format, too many pixels, or several frames.
        Exception: As Pillow raises them, where the header is broken.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        require_size(*_webp_size(data), megapixels, name)  # opening one already takes the memory of its pixels
    picture = _open(data, name)
    require_size(*picture.size, megapixels, name)

    # MPO is what phones write: a JPEG with a preview or depth map behind it; its first frame is the picture.
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise UserError(f"{name}: holds several frames; save the one to use as PNG")
    return picture


def _open(data: bytes, name: str) -> ImageFile:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile(io.BytesIO(data))
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return AvifImageFile(io.BytesIO(data))
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return _open_heic(data, name)
    for signature, reader in _SIGNATURES.items():
        if data.startswith(signature):
            return reader(io.BytesIO(data))
    raise UserError(f"{name}: not a readable image (of no known format); replace it or take it out of the list")


def _open_heic(data: bytes, name: str) -> ImageFile:
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise UserError(f"{name}: is HEIC; `pip install pillow-heif` reads it, or save it as JPEG") from error
    return heif.HeifImageFile(io.BytesIO(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height that a WebP file says it has."""
    kind, body = data[12:16], data[20:]
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        sides = int.from_bytes(body[1:5], "little")
        return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _has_deep_colours(data: bytes, picture: ImageFile) -> bool:
    """Return whether a picture has colours, or opacity, of 16 bits, of which Pillow keeps the upper eight."""
    if isinstance(picture, PngImageFile):
        return data[24] == 16
    return isinstance(picture, TiffImageFile) and 16 in picture.tag_v2.get(_BITS, ())


def _turn(values: np.ndarray, picture: ImageFile) -> np.ndarray:
    """Return values (H, W) upright, by the picture's EXIF."""
    mirror, turns = _TURNS.get(picture.getexif().get(_ORIENTATION, 1), (False, 0))
    return np.rot90(values[:, ::-1] if mirror else values, turns)


def _show_deep(data: bytes, picture: ImageFile, kind: str) -> Picture:
    """Show more than 8 bits in the full range of what is there; 8 bits that were saved with 16 as they are."""
    if picture.mode.startswith("I"):
        values = np.asarray(ImageOps.exif_transpose(picture))
    else:
        picture.load()  # refuses a file that is cut short, which OpenCV reads as far as it goes
        colours = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # blue, green, red
        if colours is None:
            raise ValueError("its colours of 16 bits cannot be decoded")
        grey = cv2.cvtColor(colours[..., :3], cv2.COLOR_BGR2GRAY)
        values = _turn(grey, picture)
    lowest = int(values.min())
    offset = 32768 if lowest < 0 else 0
    if int(values.max()) + offset > 65535 or lowest < -32768:
        words = scale_to_range(values, lowest, int(values.max())) * 65535
    else:
        words = values + offset
    words = words.astype(np.uint16, copy=False)

    counts = count_words(words)
    numbers = np.arange(65536)
    present = numbers[counts > 0]
    if not (present % 257).any():
        greys, applied = numbers / 65535, ("8 bits, saved with 16",)
    elif len(present) == 1:
        depth = next(depth for depth in _DEPTHS if present[0] < 2**depth)
        greys, applied = numbers / (2**depth - 1), ("one grey",)
    else:
        greys, applied = scale_to_range(numbers, *robust_range(numbers, counts)), ("full range",)
    if isinstance(picture, TiffImageFile) and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        greys, applied = 1 - greys, (*applied, "inverted (white is zero)")
    return Picture(look_up(words, greys.clip(0, 1)), DisplayRecord(kind, applied))
