from __future__ import annotations

import importlib.util
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from datamodules.images.decode import decode, read_picture
from experiments.errors import UserError
from tests.conftest import REPO
from tests.helpers.dicom_files import encoded

FILM = np.linspace(600, 3200, 960).round().astype(np.uint16).reshape(24, 40)
SHOWN = ((FILM - 600.0) / 2600 * 255).round()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_in_the_full_range_of_what_is_there(kind: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(FILM), kind)), SHOWN)
    marked = np.tile(FILM, (5, 1))
    marked[0, 0] = 65535
    assert np.array_equal(decode(encoded(Image.fromarray(marked), kind))[24:48], SHOWN)


@given(st.integers(0, 254), st.integers(1, 255))
def test_8_bits_saved_with_16_stay_as_they_are(low: int, span: int) -> None:
    grey = np.linspace(low, min(low + span, 255), 60).round().astype(np.uint8).reshape(6, 10)
    assert np.array_equal(decode(encoded(Image.fromarray(grey.astype(np.uint16) * 257))), grey)


@pytest.mark.parametrize("value", [0, 4095, 65535])
def test_one_grey(value: int) -> None:
    grey = 0 if value == 0 else 255
    assert (decode(encoded(Image.fromarray(np.full((4, 4), value, np.uint16)))) == grey).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colours_and_opacity_of_16_bits(suffix: str) -> None:
    for channels in (3, 4):
        data = cv2.imencode(suffix, np.repeat(FILM[..., None], channels, axis=-1))[1].tobytes()
        assert np.abs(decode(data) - SHOWN).max() <= 1
        with pytest.raises(UserError):
            decode(data[: len(data) // 2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colours_of_16_bits_are_turned_as_others_are(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    expected = decode(encoded(Image.fromarray(SHOWN.astype(np.uint8)), exif=exif))
    png = cv2.imencode(".png", np.repeat(FILM[..., None], 3, axis=-1))[1].tobytes()
    body = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert np.abs(decode(png[:33] + chunk + png[33:]) - expected.astype(int)).max() <= 1


def test_tiff_of_64_bit_offsets() -> None:
    assert np.array_equal(
        decode(encoded(Image.fromarray(FILM), "TIFF", big_tiff=True)), decode(encoded(Image.fromarray(FILM)))
    )


def test_white_is_zero_in_tiff() -> None:
    for pixels in (FILM, SHOWN.astype(np.uint8)):
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[262] = 0
        data = bytearray(encoded(Image.fromarray(pixels), "TIFF"))
        entry = data.index(struct.pack("<HHI", 262, 3, 1))
        data[entry + 8] = 0
        assert np.abs(decode(bytes(data)) - (255 - SHOWN)).max() <= 1


def test_content_counts_not_the_ending() -> None:
    cases = REPO.parent / "shared" / "cases" / "file-endings"
    if not cases.is_dir():
        pytest.skip("the cases (../shared/cases) are not on this machine")
    shown = [decode(cases / name) for name in ("a.jpg", "b.jfif", "c.jpe", "d.gif")]
    assert all(image.shape == shown[0].shape for image in shown)
    if importlib.util.find_spec("pillow_heif") is None:
        with pytest.raises(UserError, match=r"e\.heic: is HEIC; `pip install pillow-heif` reads it"):
            decode(cases / "e.heic")
    else:
        assert decode(cases / "e.heic").shape == shown[0].shape


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"8BPS\0\1" + bytes(40),
        b"<svg/>",
        b"BM",
        b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + bytes(20),
    ],
)
def test_what_is_no_picture_of_the_known_formats_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match=r"film\.png: not a readable image"):
        decode(data, "film.png")


@pytest.mark.parametrize(("kind", "options"), [("JPEG2000", {}), ("AVIF", {"quality": 95}), ("BMP", {}), ("WEBP", {})])
def test_other_formats(kind: str, options: dict[str, int]) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    assert np.abs(decode(encoded(Image.fromarray(smooth), kind, **options)).astype(int) - smooth).mean() <= 2
    with pytest.raises(UserError, match="60 x 40"):
        decode(encoded(Image.fromarray(smooth), kind, **options), megapixels=0.001)


def test_gif_and_palette() -> None:
    picture = Image.fromarray(SHOWN.astype(np.uint8))
    assert np.array_equal(decode(encoded(picture, "GIF")), SHOWN)
    assert read_picture(encoded(picture, "GIF")).record.format == "GIF"
    buffer = io.BytesIO()
    picture.save(buffer, "GIF", save_all=True, append_images=[picture.rotate(180)])
    with pytest.raises(UserError, match="several frames"):
        decode(buffer.getvalue())
