"""The headers of compressed frames: what they are, and how large a picture they ask for."""

from __future__ import annotations

import struct
from typing import NamedTuple

# JPEG's start-of-frame markers. Hierarchical ones (C5 to C7, CD to CF) and arithmetic ones of 12 bits are not in use.
_SOF = {
    0xC0: "JPEG",
    0xC1: "JPEG",
    0xC2: "JPEG",
    0xC3: "JPEG lossless",
    0xC9: "JPEG",
    0xCA: "JPEG",
    0xF7: "JPEG-LS",
}
_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}
_ENDS = {0xD9, 0xDA}


class FrameHeader(NamedTuple):
    """What a compressed frame says of itself.

    Attributes:
        kind: ``JPEG``, ``JPEG lossless``, ``JPEG-LS`` or ``JPEG 2000``.
        rows: Height, in pixels.
        columns: Width, in pixels.
        samples: Values a pixel.
        bits: Of each value.
        colours: JPEG: who says what the three values are: ``JFIF``, ``Adobe <transform>``, or "" for nobody.
    """

    kind: str
    rows: int
    columns: int
    samples: int
    bits: int
    colours: str = ""


def read_frame_header(frame: bytes) -> FrameHeader | None:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 frame, or None for anything else.

    Args:
        frame: A codestream, or a JP2 file.

    Raises:
        ValueError: A header that is cut short.

    Example:
        >>> import imagecodecs, numpy as np
        >>> read_frame_header(imagecodecs.jpegls_encode(np.zeros((3, 5), np.uint16)))
        FrameHeader(kind='JPEG-LS', rows=3, columns=5, samples=1, bits=..., colours='')
    """
    try:
        if frame[:2] == b"\xff\xd8":
            return _read_jpeg(frame)
        if frame[4:8] == b"jP  ":
            start = _find_codestream(frame)
            return _read_jpeg2000(frame[start : start + 256]) if start else None
        if frame[:4] == b"\xff\x4f\xff\x51":
            return _read_jpeg2000(frame[:256])
    except struct.error as error:
        raise ValueError("the header of its compressed frame is cut short") from error
    return None


def _read_jpeg(frame: bytes) -> FrameHeader:
    place, colours = 2, ""
    while True:
        # any number of fill bytes may stand before a marker
        while frame[place : place + 2] == b"\xff\xff":
            place += 1
        lead, marker = struct.unpack_from(">BB", frame, place)
        if lead != 0xFF or marker in _ENDS:
            raise ValueError("its JPEG frame has no header")
        place += 2
        if marker in _WITHOUT_LENGTH:
            continue

        (length,) = struct.unpack_from(">H", frame, place)
        content = frame[place + 2 : place + length]
        if marker in _SOF:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", content)
            return FrameHeader(_SOF[marker], rows, columns, samples, bits, colours)
        if marker == 0xE0 and content[:5] == b"JFIF\0":
            colours = "JFIF"
        if marker == 0xEE and content[:5] == b"Adobe" and len(content) >= 12:
            colours = f"Adobe {content[11]}"
        place += length


def _find_codestream(file: bytes) -> int | None:
    """Return where the codestream of a JP2 file begins; what other boxes hold may look like one."""
    place = 0
    while place + 8 <= len(file):
        length, kind = struct.unpack_from(">I4s", file, place)
        header = 16 if length == 1 else 8
        if kind == b"jp2c":
            return place + header
        if length == 1:
            (length,) = struct.unpack_from(">Q", file, place + 8)
        if length < header:  # the last box, or a broken one
            return None
        place += length
    return None


def _read_jpeg2000(frame: bytes) -> FrameHeader:
    # SIZ: capabilities, right, bottom, left, top of the picture, tiles (4 numbers), then each sample's depth
    right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
    samples, depth = struct.unpack_from(">HB", frame, 40)
    return FrameHeader("JPEG 2000", bottom - top, right - left, samples, (depth & 0x7F) + 1)
