import io

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from covidmt.pairs.jpeg_traces import estimate_quality, quality_table, read_traces
from datamodules.channels.encodings import fit_inside, jpeg, webp
from datamodules.images.decode import decode


@pytest.fixture(scope="module")
def film():
    """Smooth shapes and noise, as an X-ray has them: 320 x 256."""
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(rng.normal(0, 1, (256, 320)), (0, 0), 12) * 700 + 128
    return (grey + rng.normal(0, 5, grey.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [10, 49, 50, 70, 92, 100])
def test_tables_are_those_of_libjpeg(quality):
    picture = JpegImageFile(io.BytesIO(jpeg(np.zeros((16, 16), np.uint8), quality)))
    assert quality_table(quality).ravel().tolist() == picture.quantization[0]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_tells_its_quality_and_chroma(film, subsampling):
    content = jpeg(film, 92, subsampling)
    assert read_traces(content, decode(content)) == ("JPEG", 92, "file", True, subsampling)


def test_a_table_of_another_encoder_is_near_a_standard_one(film):
    table = (quality_table(80) + 1).ravel().tolist()
    file = io.BytesIO()
    Image.fromarray(film).save(file, "JPEG", qtables=[table])
    traces = read_traces(file.getvalue(), film)
    assert 74 <= traces.quality <= 80
    assert (traces.source, traces.exact, traces.subsampling) == ("file", False, "")


@pytest.mark.parametrize("quality", [30, 50, 70, 75, 85, 92, 95])
def test_pixels_tell_the_quality_that_they_had(film, quality):
    pixels = decode(jpeg(film, quality))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert read_traces(file.getvalue(), pixels) == ("PNG", quality, "pixels", False, "")


def test_pixels_without_traces(film):
    assert estimate_quality(film) is None
    assert estimate_quality(fit_inside(decode(jpeg(film, 70)), 200, 200)) is None  # the blocks are gone
    assert estimate_quality(film[:5]) is None
    assert estimate_quality(np.full((64, 64), 77, np.uint8)) is None
    assert read_traces(webp(film, 50), film) == ("WEBP", None, "", False, "")
