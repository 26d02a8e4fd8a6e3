"""Files and their pixels: preambles, byte orders, colours, palettes, numbers of any kind, and what is no picture."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from datamodules.formats.dicom import is_dicom
from datamodules.images.decode import decode, read_picture
from experiments.errors import UserError
from tests.conftest import REPO
from tests.helpers.dicom_files import dicom_bytes, encoded

FILM = np.linspace(600, 3200, 960).round().astype(np.uint16).reshape(24, 40)
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3))
LUMA = COLOURS @ [0.299, 0.587, 0.114]


def colours(pixels: np.ndarray, bits: int, photometric: str = "RGB", **tags: Any) -> bytes:
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0} | tags
    return dicom_bytes(pixels, bits=bits, **tags)


def test_cases_from_the_field() -> None:
    cases = REPO.parent / "shared" / "cases"
    if not cases.is_dir():
        pytest.skip("the cases (../shared/cases) are not on this machine")
    for path in sorted(cases.glob("dicom-*/*.dcm")):
        right = path.parent / "expected.png"
        if right.exists():
            shown, expected = decode(path).astype(int), np.asarray(Image.open(right).convert("L")).astype(int)
            assert np.abs(shown - expected).max() <= 3, path


def test_without_preamble_and_without_group_2() -> None:
    expected = decode(dicom_bytes(FILM, bits=12))
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        data = dicom_bytes(FILM, bits=12, syntax=syntax)
        assert np.array_equal(decode(data), expected)
        assert np.array_equal(decode(data[132:]), expected)
        assert np.array_equal(
            decode(data[data.index(b"\x08\0\x16\0" if syntax != ExplicitVRBigEndian else b"\0\x08\0\x16") :]), expected
        )
    assert not is_dicom(b"\x89PNG\r\n\x1a\n" + bytes(200))


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 257), (12, 16)])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours_of_any_depth(bits: int, factor: int, planar: int) -> None:
    pixels = (COLOURS * factor).astype(np.uint8 if bits == 8 else np.uint16)
    pixels[0, 0], pixels[0, 1] = 0, 2**bits - 1
    brightness = pixels @ [0.299, 0.587, 0.114] / (2**bits - 1) * 255
    if planar:
        data = dicom_bytes(np.moveaxis(pixels, -1, 0).copy(), bits=bits, SamplesPerPixel=3, Rows=6, Columns=8)
        dataset = pydicom.dcmread(io.BytesIO(data))
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 1
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        data = buffer.getvalue()
    else:
        data = colours(pixels, bits)
    assert np.abs(decode(data) - brightness).max() <= 0.51


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_compressed_colours(syntax) -> None:
    smooth = np.stack([np.add.outer(np.arange(32), np.arange(48)) * scale for scale in (3, 2, 1)], axis=-1).astype(
        np.uint8
    )
    if syntax == JPEG2000Lossless:
        data = colours(
            smooth, 8, "YBR_RCT", syntax=syntax, frame=imagecodecs.jpeg2k_encode(smooth, codecformat="J2K", level=0)
        )
    else:
        frame = encoded(Image.fromarray(smooth), "JPEG", quality=98)
        data = colours(smooth, 8, "YBR_FULL_422", syntax=syntax, frame=frame)
        plain = imagecodecs.jpeg8_encode(smooth, level=98, colorspace="RGB", outcolorspace="RGB")
        rgb = colours(smooth, 8, syntax=syntax, frame=plain)
        assert np.abs(decode(rgb) - smooth @ [0.299, 0.587, 0.114]).max() <= 4
    assert np.abs(decode(data) - smooth @ [0.299, 0.587, 0.114]).max() <= 3


def test_brightness_of_ybr() -> None:
    pixels = COLOURS.astype(np.uint8)
    assert np.array_equal(decode(colours(pixels, 8, "YBR_FULL")), pixels[..., 0])
    packed = np.zeros((6, 16), np.uint8)
    packed[:, 0::4], packed[:, 1::4] = pixels[:, 0::2, 0], pixels[:, 1::2, 0]
    data = dicom_bytes(
        packed, Columns=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0
    )
    assert np.array_equal(decode(data), pixels[..., 0])


@pytest.mark.parametrize("steps", [(257, 257, 257), (257, 257, 20), (50, 50, 50), (9, 3, 1)])
def test_a_dark_palette_stays_dark(steps: tuple[int, ...]) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(indices)))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for number, (colour, step) in enumerate(zip(("Red", "Green", "Blue"), steps, strict=True)):
        dataset.add_new(0x00281101 + number, "US", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", (np.arange(256) * step).astype("<u2").tobytes())
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    expected = indices * (np.dot(steps, [0.299, 0.587, 0.114]) / 257)
    assert np.abs(decode(buffer.getvalue()) - expected).max() <= 0.51


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("packed", [False, True])
def test_palettes(depth: int, packed: bool) -> None:
    if packed and depth == 16:
        pytest.skip("words are not packed")
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = np.random.default_rng(1).integers(0, 256, (256, 3))
    palette[0] = 255
    factor = 257 if depth == 16 else 1
    data = dicom_bytes(indices)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for number, colour in enumerate(("Red", "Green", "Blue")):
        dataset.add_new(0x00281101 + number, "US", [256, 0, depth])
        entries = (palette[:, number] * factor).astype(np.uint8 if packed else "<u2")
        setattr(dataset, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    expected = (palette @ [0.299, 0.587, 0.114]).reshape(16, 16)
    assert np.abs(decode(buffer.getvalue()) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["f4", "f8", "u4", "i4"])
def test_floating_point_and_32_bits(kind: str) -> None:
    values = (FILM.astype(np.float64) * 1000 - 5e5).astype(kind)
    right = decode(dicom_bytes(FILM, bits=12))
    if kind[0] in "ui":
        data = dicom_bytes(values, bits=32)
    else:
        keyword = "FloatPixelData" if kind == "f4" else "DoubleFloatPixelData"
        values[3, 4] = np.nan
        right = right.copy()
        right[3, 4] = 0
        data = dicom_bytes(FILM, PixelData=None, BitsAllocated=8 * values.itemsize, **{keyword: values.tobytes()})
    assert np.abs(decode(data).astype(int) - right).max() <= 1


def test_one_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (16, 16))
    data = dicom_bytes(
        np.packbits(bits, bitorder="little").reshape(2, 16),
        Rows=16,
        Columns=16,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
    )
    assert np.array_equal(decode(data), bits * 255)


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"PixelData": None}, r"a DICOM file without a picture \(Secondary Capture Image Storage\)"),
        ({"Rows": None}, "without a picture"),
        ({"NumberOfFrames": 3}, "holds several frames"),
        ({"BitsAllocated": 12}, "values of 12 bits are not read"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation HSV"),
        ({"PhotometricInterpretation": "RGB"}, "photometric interpretation RGB with 1 values"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "its palette cannot be used"),
        ({"Rows": 500}, "its pixels are cut short: 1920 of 40000 bytes"),
        ({"PixelData": b""}, "its pixels are empty"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_picture_is_refused_with_the_reason(tags: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=rf"film\.dcm: .*{says}"):
        decode(dicom_bytes(FILM, bits=12, **tags), "film.dcm")


def test_more_pixels_than_one_frame_is_noted() -> None:
    picture = read_picture(dicom_bytes(FILM, bits=12, Rows=12))
    assert picture.pixels.shape == (12, 40)
    assert "more pixels than its size says" in picture.record.notes[0]


def test_overlays_are_not_burnt_in() -> None:
    words = FILM | (np.arange(960).reshape(24, 40) % 3 == 0).astype(np.uint16) << 12
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(words, bits=12)))
    for tag, value in {0x60000010: 24, 0x60000011: 40, 0x60000100: 16, 0x60000102: 12}.items():
        dataset.add_new(tag, "US", value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(decode(buffer.getvalue()), decode(dicom_bytes(FILM, bits=12)))


def test_both_byte_orders_of_other_programs() -> None:
    root = pydicom.data.get_testdata_file
    for name, twin in (
        ("rtdose_expb_1frame.dcm", "rtdose_1frame.dcm"),
        ("MR_small_expb.dcm", "MR_small.dcm"),
        ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
    ):
        assert np.array_equal(decode(str(root(name))), decode(str(root(twin))))
    assert np.array_equal(decode(str(root("liver_1frame.dcm"))), pixel_array(str(root("liver_1frame.dcm"))) * 255)
