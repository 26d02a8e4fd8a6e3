from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from datamodules.images.decode import DECODER, VERSION, decode, resize
from experiments.errors import UserError
from tests.helpers.dicom_files import dicom_bytes, encoded

GREY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_png_modes(mode: str) -> None:
    decoded = decode(encoded(Image.fromarray(GREY).convert(mode)))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, GREY)


def test_palette_is_looked_up() -> None:
    image = Image.fromarray(GREY).convert("P")
    image.putpalette([255 - i // 3 for i in range(768)])  # index 0 is white
    assert np.array_equal(decode(encoded(image)), 255 - GREY)


def test_path_and_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a b.png"
    Image.fromarray(GREY).save(path)
    assert np.array_equal(decode(path), decode(path.read_bytes()))
    assert np.array_equal(decode(str(path)), GREY)


@settings(max_examples=20, deadline=None)
@given(st.integers(64, 255), st.integers(0, 2**32 - 1))
def test_16_bit_png_is_scaled(top: int, seed: int) -> None:
    """An 8-bit image written with 16 bits stays the same, if a quarter of the range or more is used."""
    grey = np.random.default_rng(seed).integers(0, top, (5, 7), np.uint8)
    grey[0, 0] = top
    assert np.array_equal(decode(encoded(Image.fromarray(grey.astype(np.uint16) * 257))), grey)


def test_12_bits_in_a_16_bit_png_are_not_dark() -> None:
    stored = np.array([[0, 2048, 4095]], np.uint16)
    assert decode(encoded(Image.fromarray(stored))).tolist() == [[0, 128, 255]]


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees counter-clockwise to see it upright
    picture = Image.fromarray(np.kron(GREY, np.ones((8, 8), np.uint8)))
    upright = decode(encoded(picture, "JPEG", quality=100, exif=exif))
    assert upright.shape == (160, 96)
    assert np.abs(upright.astype(int) - np.rot90(np.asarray(picture), -1)).max() <= 2


def test_colour_jpeg_has_its_luma() -> None:
    colour = Image.new("RGB", (16, 16), (200, 100, 50))
    assert (
        abs(int(decode(encoded(colour, "JPEG", quality=100))[8, 8]) - round(0.299 * 200 + 0.587 * 100 + 0.114 * 50))
        <= 1
    )


def test_phone_jpeg_with_a_second_picture_is_read() -> None:
    """Phones write MPO: a JPEG with a preview behind it."""
    first, second = Image.new("L", (16, 8), 90), Image.new("L", (16, 8), 200)
    data = encoded(first.convert("RGB"), "MPO", save_all=True, append_images=[second.convert("RGB")])
    assert abs(int(decode(data)[4, 8]) - 90) <= 1


def test_dicom_uncompressed_and_monochrome1() -> None:
    assert np.array_equal(decode(dicom_bytes(GREY)), GREY)
    assert np.array_equal(decode(dicom_bytes(GREY, PhotometricInterpretation="MONOCHROME1")), 255 - GREY)


def test_dicom_jpeg2000_and_jpeg_baseline() -> None:
    pixels = np.kron(GREY, np.ones((8, 8), np.uint8))
    assert np.array_equal(decode(dicom_bytes(pixels, syntax=JPEG2000Lossless)), pixels)
    assert np.abs(decode(dicom_bytes(pixels, syntax=JPEGBaseline8Bit)).astype(int) - pixels).max() <= 4


def test_dicom_bits_window_slope_and_sign() -> None:
    stored = np.array([[0, 1024, 2048, 4095]], np.uint16)
    assert decode(dicom_bytes(stored, bits=12)).tolist() == [[0, 64, 128, 255]]
    assert decode(dicom_bytes(stored, bits=16)).tolist() == [[0, 64, 128, 255]]  # 12 bits used of 16
    # Rescaled to -1000..3095; linear window 512..1536 around 1024 (PS3.3 C.11.2.1.2.1: (x - 1023.5) / 1023 + 0.5).
    window: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1000, "WindowCenter": 1024, "WindowWidth": 1024}
    expected = [0, 0, round(255 * ((1048 - 1023.5) / 1023 + 0.5)), 255]
    assert decode(dicom_bytes(stored, bits=12, **window)).tolist() == [expected]
    assert decode(dicom_bytes(stored, bits=12, RescaleSlope=-1, RescaleIntercept=0)).tolist() == [[255, 191, 127, 0]]
    signed = np.array([[-2048, 0, 2047]], np.int16)
    assert decode(dicom_bytes(signed, bits=12)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.png", b"", "empty"),
        ("cut.png", encoded(Image.fromarray(GREY))[:-40], "not a readable image"),
        ("cut.jpg", encoded(Image.fromarray(np.kron(GREY, np.ones((9, 9), np.uint8))), "JPEG")[:900], "not a readable"),
        ("text.png", b"<html>404</html>", "not a readable image"),
        ("cut.dcm", dicom_bytes(GREY)[:-100], "not a readable image"),
        (
            "moving.gif",
            encoded(Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.new("L", (20, 12))]),
            "frames",
        ),
        (
            "moving.png",
            encoded(Image.fromarray(GREY), save_all=True, append_images=[Image.new("L", (20, 12))]),
            "frames",
        ),
        ("cine.dcm", dicom_bytes(GREY, NumberOfFrames=2), "frames"),
        ("float.tiff", encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_a_bad_file_names_itself(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=says) as error:
        decode(path)
    assert name in str(error.value)


def test_missing_file_and_folder_name_themselves(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.png: no such image"):
        decode(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=str(tmp_path)):
        decode(tmp_path)


def test_resize_is_antialiased() -> None:
    """A one-pixel checkerboard becomes its mean; a kernel without antialiasing would give stripes of 0 and 255."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(board, 8)
    assert small.shape == (8, 8)
    assert small.dtype == np.uint8
    assert np.abs(small[1:-1, 1:-1].astype(int) - 127).max() <= 2
    assert resize(np.full((10, 30), 77, np.uint8), 16).tolist() == [[77] * 16] * 16
    for name in ("pillow", "pydicom", "imagecodecs"):
        assert f"{name} {metadata.version(name)}" in DECODER


def test_threads_get_the_same_pixels() -> None:
    files = [encoded(Image.fromarray(np.roll(GREY, i))) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(image, np.roll(GREY, i)) for i, image in enumerate(pool.map(decode, files)))


def test_real_dicom_is_the_nih_picture(mini_cxr: Path) -> None:
    path = min((mini_cxr / "rsna" / "stage_2_train_images").iterdir())
    assert np.array_equal(decode(path), pixel_array(path, decoding_plugin="pillow"))


def test_other_pixels_are_another_version() -> None:
    """Caches are named by DECODER: pixels that change without it would leave old ones in use."""
    rng = np.random.default_rng(0)
    shades = (np.outer(np.arange(96), np.arange(80)) % 251 + rng.integers(0, 4, (96, 80))).astype(np.uint8)
    files = [
        encoded(Image.fromarray(shades)),
        encoded(Image.fromarray(np.stack([shades, shades // 2, 255 - shades], axis=-1))),
        encoded(Image.fromarray(shades.astype(np.uint16) * 13)),
        encoded(Image.fromarray(shades), "JPEG", quality=70),
        dicom_bytes(shades.astype(np.uint16) * 16, bits=12),
        dicom_bytes(shades, PhotometricInterpretation="MONOCHROME1"),
        dicom_bytes(shades, syntax=JPEGBaseline8Bit),
        dicom_bytes(shades, syntax=JPEG2000Lossless),
        dicom_bytes(shades, WindowCenter=100, WindowWidth=120),
    ]
    pixels = b"".join(resize(decode(data), size).tobytes() for data in files for size in (64, 128))
    digest = hashlib.sha256(pixels).hexdigest()[:16]
    assert (VERSION, digest) == (4, "27f4bd5ebe87c570"), (
        "the decoder's pixels have changed: raise VERSION, and note both here"
    )
