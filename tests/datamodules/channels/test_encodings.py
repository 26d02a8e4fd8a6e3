import io

import numpy as np
import pytest
from PIL import Image

from datamodules.channels.encodings import fit_inside, jpeg, shrink, webp
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode
from tests.helpers.films import luma, noise


@pytest.mark.parametrize(
    ("step", "table", "sampling"),
    [("jpeg:95", 2, (2, 2)), ("jpeg:50:4:2:2", 16, (2, 1)), ("jpeg:10:4:4:4", 80, (1, 1))],
)
def test_quality_and_subsampling_of_a_step(step, table, sampling):
    assert luma(get_channel(step)(noise(32, 32))) == (table, sampling)


def test_what_is_written_is_what_was_asked_for():
    """Three channels, the image's size; a lower quality is a smaller file and a larger error."""
    image = noise(40, 60)
    for write, encoding in ((jpeg, "JPEG"), (webp, "WEBP")):
        sent = [write(image, quality) for quality in (10, 50, 90)]
        assert len(sent[0]) < len(sent[1]) < len(sent[2])
        errors = [np.abs(decode(file).astype(int) - image).mean() for file in sent]
        assert errors[0] > errors[1] > errors[2]
        picture = Image.open(io.BytesIO(sent[0]))
        assert (picture.format, picture.mode, picture.size) == (encoding, "RGB", (60, 40))
    assert jpeg(image, 50) == jpeg(image, 50, "4:2:0") != jpeg(image, 50, "4:4:4")


def test_shrinking_loses_nothing_but_size():
    image = noise(40, 60)
    assert Image.open(io.BytesIO(shrink(image, 60))).format == "PNG"
    assert (decode(shrink(image, 60)) == image).all()
    assert decode(shrink(image, 30)).shape == (20, 30)
    assert (decode(shrink(image, 30)) == fit_inside(image, 30, 30)).all()


def test_an_image_is_scaled_down_with_antialiasing_and_never_up():
    """Stripes of one pixel become grey; both sides of the rectangle are limits."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 64))
    small = fit_inside(stripes, 32, 64)
    assert small.shape == (16, 32)
    assert np.abs(small.astype(int) - 127).max() < 12
    assert fit_inside(stripes, 128, 16).shape == (16, 32)
    assert fit_inside(stripes, 128, 64) is not stripes
    assert (fit_inside(stripes, 500, 500) == stripes).all()


def test_the_antialiasing_is_lanczos_in_one_step():
    """Also where it is 30 times smaller, which a faster way would halve first."""
    image = noise(300, 600)
    expected = Image.fromarray(image).resize((20, 10), Image.Resampling.LANCZOS)
    assert (fit_inside(image, 20, 20) == np.asarray(expected)).all()


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_a_lower_quality_is_a_smaller_file_and_a_larger_error(mini_cxr, name):
    image = decode(sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))[0])
    sent = [get_channel(f"{name}:{quality}")(image) for quality in (1, 30, 70, 100)]
    errors = [np.abs(decode(file).astype(int) - image).mean() for file in sent]
    assert sorted(sent, key=len) == sent
    assert sorted(errors, reverse=True) == errors
