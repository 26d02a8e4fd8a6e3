"""Stored values to greys, by hand."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.images.decode import decode, read_picture
from tests.helpers.dicom_files import dicom_bytes, table_item

WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
STORED = np.array([[0, 1024, 2048, 4095]], np.uint16)


def greys(pixels: np.ndarray, bits: int = 12, **tags: Any) -> list[int]:
    return decode(dicom_bytes(pixels, bits=bits, **tags))[0].tolist()


def notes(pixels: np.ndarray, bits: int = 12, **tags: Any) -> str:
    return "; ".join(read_picture(dicom_bytes(pixels, bits=bits, **tags)).record.notes)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 128, 255]),  # (2048 - 2047.5) / 1999 + 0.5 = 0.50025 -> 127.56; (1024 - 2047.5) / 1999 < -0.5
        ("LINEAR_EXACT", [0, 0, 128, 255]),
        ("SIGMOID", [4, 29, 128, 251]),  # 255 / (1 + exp(4 * 2048 / 2000)) = 4.2; 1024: 29.2; 4095: 250.8
        ("sigmoid ", [4, 29, 128, 251]),
    ],
)
def test_window_functions(function: str, expected: list[int]) -> None:
    tags = {"WindowCenter": 2048, "WindowWidth": 2000, "VOILUTFunction": function}
    assert greys(STORED, **tags) == expected


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_a_window_that_is_none_is_passed_over(width: float) -> None:
    assert greys(STORED, WindowCenter=2048, WindowWidth=width) == [0, 64, 128, 255]
    assert "WindowWidth is too small" in notes(STORED, WindowCenter=2048, WindowWidth=width)
    several = {"WindowCenter": [9, 2048], "WindowWidth": [width, 4096]}
    assert greys(STORED // 2, **several) == [0, 32, 64, 127]  # the first usable one


@pytest.mark.parametrize(
    ("centers", "widths"),
    [
        ("\\2048", "\\4096"),
        ("x\\2048", "9\\4096"),
        ("2048\\", "4096"),
        ("9\\2048", "nan\\4096"),
        ("1,5\\2048", "2\\4096"),
    ],
)
def test_a_window_that_is_no_number_leaves_the_others(centers: str, widths: str) -> None:
    data = dicom_bytes(STORED // 2, bits=12, WindowCenter="1" * 12, WindowWidth="2" * 12)
    data = data.replace(b"1" * 12, centers.ljust(12).encode()).replace(b"2" * 12, widths.ljust(12).encode())
    picture = read_picture(data)
    assert picture.pixels.ravel().tolist() == [0, 32, 64, 127]
    assert "is no number: passed over" in " ".join(picture.record.notes)


@pytest.mark.parametrize(
    "tags",
    [
        {"VOILUTFunction": "LOG"},
        {"VOILUTSequence": []},
        {"VOILUTSequence": [table_item(np.zeros(0))]},
        {"RescaleSlope": 0},
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"RescaleSlope": None, "RescaleIntercept": ""},
        {"PresentationLUTShape": "LIN OD"},
        {"ModalityLUTSequence": []},
        {"SamplesPerPixel": None},
        {"HighBit": None},
        {"HighBit": 3},
        {"PixelRepresentation": 7},
        {"PhotometricInterpretation": "Monochrome2 "},
        {"PhotometricInterpretation": "MONOCHROME 2"},
        {"PhotometricInterpretation": None},
        {"NumberOfFrames": 0},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_broken_tag_is_passed_over_with_a_note(tags: dict[str, Any]) -> None:
    if tags.get("RescaleSlope", 1) is None:
        tags = {"RescaleSlope": "", "RescaleIntercept": ""}
    assert greys(STORED // 2, **(WINDOW | tags)) == [0, 32, 64, 127]
    if "NumberOfFrames" not in tags and tags.get("PhotometricInterpretation") != "Monochrome2 ":
        assert notes(STORED // 2, **(WINDOW | tags))


def test_voi_lut_before_window_and_the_first_usable_one() -> None:
    falling = table_item(np.arange(4096)[::-1] * 16, bits=16)
    assert greys(STORED, VOILUTSequence=[falling], **WINDOW) == [255, 191, 127, 0]
    assert greys(STORED, VOILUTSequence=[table_item(np.zeros(0)), falling], **WINDOW) == [255, 191, 127, 0]


def test_modality_lut_of_any_range_and_negative_slope() -> None:
    table = table_item(np.arange(4096) * 8 + 1000)
    assert greys(STORED, ModalityLUTSequence=[table], WindowCenter=17384, WindowWidth=32768) == [0, 64, 128, 255]
    assert greys(STORED, RescaleSlope=-1, RescaleIntercept=4095, **WINDOW) == [255, 191, 127, 0]
    assert greys(STORED, RescaleSlope=-1, RescaleIntercept=4095) == [255, 191, 127, 0]
    assert greys(STORED, RescaleSlope=0.001, WindowCenter=2.0475, WindowWidth=4.095, VOILUTFunction="LINEAR_EXACT") == [
        0, 64, 128, 255,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),  # as DCMTK: the shape says what comes out
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("monochrome1 ", None, True),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_presentation(photometric: str, shape: str | None, inverted: bool) -> None:
    tags = {"PhotometricInterpretation": photometric} | ({"PresentationLUTShape": shape} if shape else {})
    assert greys(STORED, **tags) == ([255, 191, 127, 0] if inverted else [0, 64, 128, 255])


@given(st.integers(8, 16), st.booleans(), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_sign_high_bit_and_what_lies_beside_the_value(bits: int, signed: bool, shift: int, seed: int) -> None:
    """Any place in the word, with noise (overlays) in all other bits."""
    rng = np.random.default_rng(seed)
    shift = min(shift, 16 - bits)
    values = rng.integers(0, 2**bits, (6, 8))
    values[0, :2] = 0, 2**bits - 1
    mask = (2**bits - 1) << shift
    stored = values - 2 ** (bits - 1) if signed else values
    words = (((stored & (2**bits - 1)) << shift) | (rng.integers(0, 65536, values.shape) & ~mask)).astype(np.uint16)
    decoded = decode(dicom_bytes(words, bits=bits, HighBit=bits + shift - 1, PixelRepresentation=int(signed)))
    assert np.abs(decoded - values * (255 / (2**bits - 1))).max() <= 0.5


def film_with(padding: int, share: float = 0.3) -> np.ndarray:
    film = np.linspace(400, 4000, 6400).round().astype(np.uint16).reshape(80, 80)
    film[:, : int(80 * share)] = padding
    return film


@pytest.mark.parametrize("padding", [0, 65535, 9])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_background_and_no_part_of_the_range(padding: int, photometric: str) -> None:
    film = film_with(padding)
    tags = {"PhotometricInterpretation": photometric, "PixelPaddingValue": padding}
    shown = decode(dicom_bytes(film, bits=16, **tags))
    assert (shown[:, :24] == 0).all()
    assert (shown[:, 24:].min(), shown[:, 24:].max()) == (0, 255)


def test_a_range_of_padding_signed_padding_and_all_padding() -> None:
    film = film_with(65535)
    film[:, 5] = 65000
    tags = {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 64000}
    assert (decode(dicom_bytes(film, bits=16, **tags))[:, :24] == 0).all()
    signed = film_with(0).astype(np.int16)
    signed[:, :24] = -2000
    shown = decode(dicom_bytes(signed, bits=16, PixelPaddingValue=-2000))
    assert (shown[:, :24].max(), shown[:, 24:].max()) == (0, 255)
    assert greys(STORED, PixelPaddingValue=0, PixelPaddingRangeLimit=4095, **WINDOW) == [0, 64, 128, 255]


@pytest.mark.parametrize(
    ("stored", "bits", "first", "limit"),
    [
        (63600, 16, -2000, -1),  # of unsigned values with a sign
        (63600, 16, -1, -2000),
        (-1950, 12, 63536, 63636),  # of signed values without
        (-2048, 12, 2048, None),  # of as many bits as the values
        (-1950, 12, 2100, 2200),
    ],
)
def test_padding_written_with_the_other_sign(stored: int, bits: int, first: int, limit: int | None) -> None:
    film = (film_with(0) // 2).astype(np.int16 if stored < 0 else np.uint16)
    film[:, :24] = stored
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(film, bits=bits)))
    for tag, value in (("PixelPaddingValue", first), ("PixelPaddingRangeLimit", limit)):
        if value is not None:
            dataset.add_new(tag, "SS" if value < 0 else "US", value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    shown = decode(file.getvalue())
    assert (shown[:, :24] == 0).all()
    assert (shown[:, 24:].min(), shown[:, 24:].max()) == (0, 255)


def test_a_padding_value_that_is_the_films_own_is_passed_over() -> None:
    film = np.linspace(400, 4000, 6400).round().astype(np.uint16).reshape(80, 80)
    shown = decode(dicom_bytes(film, bits=12, PixelPaddingValue=2000))
    assert np.array_equal(shown, decode(dicom_bytes(film, bits=12)))
    assert "within the film's own values" in notes(film, PixelPaddingValue=2000)


def test_eight_bits_without_a_window_are_a_finished_picture() -> None:
    pixels = np.array([[37, 90, 197]], np.uint8)
    assert greys(pixels, bits=8) == [37, 90, 197]
    assert notes(pixels, bits=8) == ""
    assert greys((pixels.astype(np.int16) - 128).astype(np.int8), bits=8) == [37, 90, 197]
    assert greys(pixels, bits=8, RescaleSlope=-1, RescaleIntercept=255) == [218, 165, 58]


@pytest.mark.parametrize("value", [0, 700, 4095])
def test_one_grey(value: int) -> None:
    assert greys(np.full((2, 2), value, np.uint16)) == [round(value / 4095 * 255)] * 2
