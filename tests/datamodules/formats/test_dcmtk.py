"""Our way from stored values to a picture against DCMTK's, over what files hold."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from datamodules.images.decode import read_picture
from experiments.errors import UserError
from tests.conftest import REPO
from tests.helpers.dcmtk import dcmtk, difference, program
from tests.helpers.dicom_files import dicom_bytes, table_item

__all__ = ["dcmtk"]

BITS = (8, 10, 12, 14, 16)
SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
DISPLAYS = ("none", "window", "VOI LUT", "modality LUT", "slope +", "slope -")
PRODUCT = [*itertools.product(BITS, (False, True), ("MONOCHROME1", "MONOCHROME2"), DISPLAYS, SYNTAXES)]

# Of pydicom's test files those that we show otherwise on purpose, see docs/dicom.md.
ON_PURPOSE = {
    "CT_small.dcm": "single marker pixels",
    "JPEG-lossy.dcm": "single marker pixels",
    "JPGExtended.dcm": "single marker pixels",
    "liver_1frame.dcm": "one bit",
    "liver_expb_1frame.dcm": "one bit",
    "rtdose_expb_1frame.dcm": "32 bits, big-endian",
}


def film(bits: int, *, signed: bool) -> np.ndarray:
    """A film in 15 to 80 % of the bits' range, with noise."""
    y, x = np.mgrid[:40, :48]
    noise = np.random.default_rng(bits).uniform(-0.05, 0.05, x.shape)
    share = 0.2 + 0.55 * (x / 47 + y / 39) / 2 + noise
    values = (share * (2**bits - 1)).round().astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def display_tags(display: str, pixels: np.ndarray, bits: int) -> dict[str, Any]:
    """The tags of one kind of display; windows leave out some of the film on both sides."""
    lowest = -(2 ** (bits - 1)) if pixels.dtype.kind == "i" else 0
    middle, width = float(np.median(pixels)), float(np.ptp(pixels.astype(np.int64)) * 0.7)
    ramp = np.arange(2**bits) / (2**bits - 1)
    match display:
        case "window":
            return {"WindowCenter": round(middle), "WindowWidth": round(width)}
        case "VOI LUT":
            return {"VOILUTSequence": [table_item((ramp**0.7 * 65535).round().astype(int), lowest)]}
        case "modality LUT":
            return {"ModalityLUTSequence": [table_item((ramp**1.5 * 4000).round().astype(int), lowest)]}
        case "slope +":
            return {
                "RescaleSlope": 2,
                "RescaleIntercept": -77,
                "WindowCenter": 2 * middle - 77,
                "WindowWidth": 2 * width,
            }
        case "slope -":
            return {"RescaleSlope": -1, "RescaleIntercept": 99, "WindowCenter": 99 - middle, "WindowWidth": width}
    return {}


def check(folder: Path, bits: int, signed: bool, photometric: str, display: str, syntax: UID) -> None:
    pixels = film(bits, signed=signed)
    tags = {"PhotometricInterpretation": photometric} | display_tags(display, pixels, bits)
    path = folder / "film.dcm"
    path.write_bytes(dicom_bytes(pixels, bits=bits, syntax=syntax, **tags))
    picture = read_picture(path)

    # DCMTK does not read JPEG 2000: it shows the same values uncompressed
    if program(path) is None:
        path.write_bytes(dicom_bytes(pixels, bits=bits, **tags))
        assert np.array_equal(read_picture(path).pixels, picture.pixels)
    assert difference(path, picture) <= 1


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize("start", range(4))
def test_a_sample_of_the_product(tmp_path: Path, start: int) -> None:
    """Every pair of neighbouring dimensions' values comes up."""
    for number in np.random.default_rng(start).permutation(len(PRODUCT))[:15]:
        check(tmp_path, *PRODUCT[number])


@pytest.mark.dicom
@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize("case", PRODUCT, ids=lambda case: "-".join(str(getattr(part, "name", part)) for part in case))
def test_the_product(tmp_path: Path, case: tuple[int, bool, str, str, UID]) -> None:
    check(tmp_path, *case)


@pytest.mark.usefixtures("dcmtk")
def test_files_of_other_programs(tmp_path: Path) -> None:
    """All that pydicom brings with one frame of grey; what we read and DCMTK does not is JPEG 2000."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    compared, unread = 0, []
    for file in sorted(root.glob("*.dcm")):
        path = shutil.copy(file, tmp_path)
        try:
            picture = read_picture(path)
        except UserError:
            continue
        if file.name in ON_PURPOSE:
            continue
        try:
            assert difference(Path(path), picture) <= 1, file.name
            compared += 1
        except ValueError:
            unread.append(file.name)
    assert compared >= 35
    # its tags are broken for DCMTK
    assert [name for name in unread if program(root / name)] == ["SC_rgb_jpeg.dcm"], unread


@pytest.mark.usefixtures("dcmtk")
def test_cases_from_the_field(tmp_path: Path) -> None:
    cases = REPO.parent / "shared" / "cases"
    if not cases.is_dir():
        pytest.skip("the cases (../shared/cases) are not on this machine")
    files = sorted(cases.glob("dicom-*/*.dcm"))
    assert len(files) >= 16
    for file in files:
        picture = read_picture(file)
        path = Path(shutil.copy(file, tmp_path / f"{file.parent.name}-{file.name}"))
        if file.parent.name != "dicom-padding":
            assert difference(path, picture) <= 1, path.name
