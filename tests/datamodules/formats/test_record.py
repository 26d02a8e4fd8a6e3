import numpy as np
from PIL import Image

from datamodules.images.decode import read_picture
from tests.helpers.dicom_files import dicom_bytes, encoded

FILM = np.arange(600, 3160, dtype=np.uint16).reshape(40, 64)


def test_what_was_applied_and_passed_over_comes_with_the_picture() -> None:
    record = read_picture(dicom_bytes(FILM, bits=12, RescaleSlope=2, WindowCenter=2000, WindowWidth=0)).record
    assert record.format == "DICOM"
    assert record.applied == ("rescale slope and intercept", "full range")
    assert record.notes == (
        "WindowWidth is too small to be one: passed over",
        "no window in the file: the full range of what is there is shown",
    )
    assert read_picture(dicom_bytes(FILM, bits=12, WindowCenter=2000, WindowWidth=900)).record.notes == ()


def test_other_formats() -> None:
    assert read_picture(encoded(Image.new("L", (2, 2)))).record.format == "PNG"
    assert read_picture(encoded(Image.new("L", (2, 2)), "JPEG")).record.notes == ()
    assert read_picture(encoded(Image.fromarray(FILM))).record.applied == ("full range",)
