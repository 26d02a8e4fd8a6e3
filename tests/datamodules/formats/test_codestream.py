import imagecodecs
import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless

from datamodules.formats.codestream import read_frame_header
from tests.helpers.dicom_files import ENCODERS

FILM = np.arange(12 * 20, dtype=np.uint16).reshape(12, 20) * 8


@pytest.mark.parametrize(
    ("syntax", "kind", "bits"),
    [
        (JPEGBaseline8Bit, "JPEG", 8),
        (JPEGExtended12Bit, "JPEG", 12),
        (JPEGLosslessSV1, "JPEG lossless", 12),
        (JPEGLSLossless, "JPEG-LS", 16),
        (JPEG2000Lossless, "JPEG 2000", 12),
    ],
)
def test_headers(syntax, kind: str, bits: int):
    film = (FILM // 8).astype(np.uint8) if bits == 8 else FILM
    header = read_frame_header(ENCODERS[syntax](film, 12))
    assert header is not None
    assert (header.kind, header.rows, header.columns, header.samples, header.bits) == (kind, 12, 20, 1, bits)


def test_jp2_file_colours_and_fill_bytes():
    jp2 = imagecodecs.jpeg2k_encode(FILM, codecformat="JP2", level=0)
    header = read_frame_header(jp2)
    assert header is not None
    assert header[:4] == ("JPEG 2000", 12, 20, 1)
    jpeg = imagecodecs.jpeg8_encode(np.zeros((4, 6, 3), np.uint8))
    assert read_frame_header(jpeg[:2] + b"\xff\xff" + jpeg[2:]) == read_frame_header(jpeg)
    header = read_frame_header(jpeg)
    assert header is not None
    assert (header.samples, header.colours) == (3, "JFIF")


@pytest.mark.parametrize("long", [False, True])
def test_another_box_of_a_jp2_file_does_not_hide_its_size(long: bool):
    jp2 = imagecodecs.jpeg2k_encode(FILM, codecformat="JP2", level=0)
    tiny = imagecodecs.jpeg2k_encode(FILM[:2, :2], codecformat="J2K", level=0)
    size = len(tiny) + 16 + 8
    head = (
        (1).to_bytes(4, "big") + b"uuid" + (size + 8).to_bytes(8, "big") if long else size.to_bytes(4, "big") + b"uuid"
    )
    header = read_frame_header(jp2[:12] + head + bytes(16) + tiny + jp2[12:])
    assert header is not None
    assert (header.rows, header.columns) == (12, 20)
    assert read_frame_header(jp2[:12] + bytes(4) + b"uuid" + tiny) is None


@pytest.mark.parametrize("data", [b"", b"\x89PNG", bytes(100)])
def test_anything_else_has_none(data: bytes):
    assert read_frame_header(data) is None


@pytest.mark.parametrize(
    "data", [b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF\0"]
)
def test_a_header_that_is_cut_short_is_refused(data: bytes):
    with pytest.raises(ValueError, match="header"):
        read_frame_header(data)
