import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from datamodules.formats.limits import most_bytes, require_size
from datamodules.images.decode import decode
from experiments.errors import UserError
from tests.helpers.dicom_files import dicom_bytes, encoded

GREY = np.zeros((50, 80), np.uint8)


def test_size_and_bytes() -> None:
    require_size(2000, 1000, 2, "film.png")
    with pytest.raises(UserError, match=r"film\.png: 2000 x 1000 pixels in 2 frames are more than the 2 million"):
        require_size(2000, 1000, 2, "film.png", frames=2)
    with pytest.raises(UserError, match="holds no picture"):
        require_size(0, 5, 2, "film.png")
    assert most_bytes(1) == 8_000_000 + 2**26


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
def test_one_limit_for_all_formats(kind: str) -> None:
    data = encoded(Image.fromarray(GREY), kind)
    assert decode(data, megapixels=0.004).shape == (50, 80)
    with pytest.raises(UserError, match=r"80 x 50 pixels are more than the 0\.0039 million"):
        decode(data, megapixels=0.0039)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_measured_before_it_is_opened(lossless: bool) -> None:
    for picture in (Image.fromarray(GREY), Image.fromarray(GREY).convert("RGBA")):
        with pytest.raises(UserError, match="80 x 50"):
            decode(encoded(picture, "WEBP", lossless=lossless), megapixels=0.001)


def test_dicom_is_measured_by_its_tags() -> None:
    assert decode(dicom_bytes(GREY), megapixels=0.004).shape == (50, 80)
    for tags in ({}, {"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 100_000}):
        with pytest.raises(UserError, match="more than the 0"):
            decode(dicom_bytes(GREY, **tags), megapixels=0.0039)


def png_of(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that asks for any number of pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_small_files_that_ask_for_gigabytes_are_refused() -> None:
    with pytest.raises(UserError, match="60000 x 60000"):
        decode(png_of(60_000, 60_000))

    # JPEG 2000: its own header asks for 3.8 GB, the tags for little
    frame = bytearray(imagecodecs.jpeg2k_encode(GREY, codecformat="J2K", level=0))
    frame[8:16] = struct.pack(">II", 62_000, 62_000)
    with pytest.raises(UserError, match="tags say 80 x 50 pixels, but its JPEG 2000 frame has 62000 x 62000"):
        decode(dicom_bytes(GREY, syntax=JPEG2000Lossless, frame=bytes(frame)))


def test_a_deflated_file_is_inflated_only_so_far() -> None:
    data = dicom_bytes(np.arange(256, dtype=np.uint8).reshape(16, 16))
    start = data.index(b"\x08\0\x16\0UI")  # the first tag behind group 2
    syntax = DeflatedExplicitVRLittleEndian.encode() + b"\0"
    meta = data[:start].replace(b"1.2.840.10008.1.2.1\0", syntax.ljust(20, b"\0")[:20])
    place = meta.index(b"\x02\0\x10\0UI")
    meta = meta[: place + 6] + struct.pack("<H", len(syntax)) + syntax + meta[place + 28 :]
    length = struct.unpack("<I", meta[140:144])[0] + len(syntax) - 20
    meta = meta[:140] + struct.pack("<I", length) + meta[144:]

    def deflate(content: bytes) -> bytes:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return meta + packer.compress(content) + packer.flush()

    assert np.array_equal(decode(deflate(data[start:])), np.arange(256).reshape(16, 16))
    bomb = io.BytesIO(data[start:] + bytes(100 * 2**20)).getvalue()
    with pytest.raises(UserError, match="inflates to more than a picture"):
        decode(deflate(bomb), megapixels=1)
