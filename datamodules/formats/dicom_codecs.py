"""Decompression of DICOM frames, by imagecodecs and Pillow: the kind is read from the frame, and its size first.

pydicom's own plugins for JPEG lossless, 12-bit JPEG and JPEG-LS are GPL (pylibjpeg-libjpeg), refuse 12-bit JPEG (GDCM),
or know JPEG-LS alone (pyjpegls); and none looks at how large a picture a frame asks for.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from imagecodecs import dicomrle_decode, jpeg2k_decode, jpeg8_decode, jpegls_decode, jpegsof3_decode
from PIL.JpegImagePlugin import JpegImageFile
from pydicom.uid import UID, RLELossless

from datamodules.formats.codestream import FrameHeader, read_frame_header


@dataclass(frozen=True)
class FrameShape:
    """The shape that a file's tags give a frame.

    Attributes:
        rows: Height, in pixels.
        columns: Width, in pixels.
        samples: Values a pixel.
        bits_allocated: Of each value: 8, 16, 32 or 64.
        rgb: The file says that its values are red, green and blue.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    rgb: bool = False


@dataclass(frozen=True)
class Frame:
    """A decompressed frame.

    Attributes:
        words: (H, W) or (H, W, samples), unsigned integers of 8 to 64 bits.
        bits: How many bits of them the codec used; None: it does not say.
        luma: Of several values a pixel the codec has given the brightness alone.
    """

    words: np.ndarray
    bits: int | None = None
    luma: bool = False


def decompress(data: bytes, syntax: UID, shape: FrameShape) -> Frame:
    """Decompress a frame.

    Args:
        data: The frame.
        syntax: The file's transfer syntax; what the frame itself says counts more.
        shape: What the tags say; a frame of another size is refused before it is decompressed.

    Raises:
        ValueError: Another size, an unknown kind, or a frame that is broken or cut short.

    Example:
        >>> import imagecodecs
        >>> film = np.array([[0, 4095]], np.uint16)
        >>> decompress(imagecodecs.jpegls_encode(film), UID(""), FrameShape(1, 2, 1, 16)).words.tolist()
        [[0, 4095]]
    """
    header = read_frame_header(data)
    if header is None:
        if syntax != RLELossless:
            raise ValueError(f"its frame is compressed as {syntax.name or 'nobody knows what'}, which is not read")
        return Frame(_decode_rle(data, shape))

    tags, frame = (shape.columns, shape.rows), (header.columns, header.rows)
    if tags != frame:
        raise ValueError(
            f"its tags say {tags[0]} x {tags[1]} pixels, but its {header.kind} frame has {frame[0]} x {frame[1]}"
        )
    if header.samples != shape.samples:
        raise ValueError(f"its tags say {shape.samples} values a pixel, but its frame has {header.samples}")
    if header.kind == "JPEG" and header.bits == 8:
        return _decode_jpeg(data, header, shape)
    words = _DECODERS[header.kind](data)
    return Frame(words.view(f"u{words.itemsize}"), header.bits)


def _decode_jpeg(data: bytes, header: FrameHeader, shape: FrameShape) -> Frame:
    """Decode 8 bits; of colours the brightness, which JPEG stores."""
    if shape.rgb and header.samples == 3 and header.colours in ("", "Adobe 0"):
        return Frame(_decode_whole(data, colours="RGB"), 8)

    # by Pillow, which refuses a frame that is cut short
    with JpegImageFile(io.BytesIO(data)) as picture:
        if header.samples == 3:
            picture.draft("L", picture.size)
        return Frame(np.asarray(picture), 8, luma=header.samples == 3)


def _decode_whole(data: bytes, colours: str | None = None) -> np.ndarray:
    """Decode a JPEG by libjpeg, which fills a frame that is cut short with grey; colours are not converted."""
    _require_end(data, "JPEG")
    return jpeg8_decode(data, colorspace=colours, outcolorspace=colours)


def _decode_jpeg_ls(data: bytes) -> np.ndarray:
    """Decode a JPEG-LS by CharLS, which takes seconds to refuse a small frame that is cut short."""
    _require_end(data, "JPEG-LS")
    return jpegls_decode(data)


def _require_end(data: bytes, kind: str) -> None:
    """Refuse a frame without the marker of its end, behind which there may be a few bytes."""
    if b"\xff\xd9" not in data[-64:]:
        raise ValueError(f"its {kind} frame is cut short")


def _decode_jpeg2000(data: bytes) -> np.ndarray:
    return np.ascontiguousarray(jpeg2k_decode(data))


def _decode_lossless(data: bytes) -> np.ndarray:
    return np.ascontiguousarray(jpegsof3_decode(data))  # unlike libjpeg it refuses a frame that is cut short


_DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "JPEG": _decode_whole,  # of 12 bits
    "JPEG lossless": _decode_lossless,
    "JPEG-LS": _decode_jpeg_ls,
    "JPEG 2000": _decode_jpeg2000,
}


def _decode_rle(data: bytes, shape: FrameShape) -> np.ndarray:
    dtype = np.dtype(f"<u{shape.bits_allocated // 8}")
    planes = np.zeros((shape.samples, shape.rows, shape.columns), dtype)
    decoded = dicomrle_decode(data, dtype, out=planes.reshape(-1).view(np.uint8).data)
    if len(decoded) != planes.nbytes:
        raise ValueError("its RLE frame is cut short")
    return planes[0] if shape.samples == 1 else np.moveaxis(planes, 0, -1)
