import io

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from datamodules.channels.encodings import jpeg
from datamodules.channels.phone_apps import mms, signal, whatsapp
from datamodules.channels.registry import get_channel
from tests.helpers.films import luma, noise


def send(height, width):
    return whatsapp(np.random.default_rng(0).integers(0, 256, (height, width), np.uint8))


def test_what_a_phone_receives():
    sent = send(60, 80)
    picture = JpegImageFile(io.BytesIO(sent))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (80, 60))
    assert "progressive" not in picture.info
    assert [component[1:3] for component in picture.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0
    luma = picture.quantization[0]  # quality 70: Annex K's 16 ... 99 by 0.6
    assert (luma[0], luma[-1]) == (10, 59)
    standard_dc = bytes([0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, *range(12)])  # ITU-T T.81, Table K.3
    assert standard_dc in sent


@pytest.mark.parametrize(
    ("given", "sent"), [((1700, 3200), (1600, 850)), ((2000, 1000), (800, 1600)), ((1600, 10), (10, 1600))]
)
def test_the_longest_side_is_at_most_1600(given, sent):
    assert Image.open(io.BytesIO(send(*given))).size == sent


def test_the_mini_set_was_made_by_the_same_channel(mini_cxr):
    originals = sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))
    for path in [*originals[::8], *(p for p in originals if p.stem == "CD50BA96-6982-4C80-AE7B-5F67ACDBFA56")]:
        twin = mini_cxr / "wacxr" / "covid_binary_test_whatsapp" / path.parent.name / f"{path.stem}.jpeg"
        assert whatsapp(np.array(Image.open(path).convert("L"))) == twin.read_bytes()


@pytest.mark.parametrize(
    ("name", "given", "size", "table"),  # Annex K's 16, scaled by 0.6 at quality 70, by 0.4 at 80, by 0.1 at 95
    [
        ("whatsapp", (1300, 2000), (1600, 1040), 10),
        ("whatsapp_hd", (1300, 2000), (2000, 1300), 10),
        ("whatsapp_web", (1300, 2000), (1600, 1040), 3),  # quality 92: Annex K's 16 by 0.16
        ("whatsapp_hd", (40, 5000), (4096, 33), 10),
        ("telegram", (2000, 1300), (832, 1280), 6),
        ("signal", (200, 2000), (1600, 160), 10),
        ("signal", (2400, 2400), (1024, 1024), 10),  # noise: 1600 px would have more than 1 MiB
        ("mms", (600, 1280), (640, 300), 2),
        ("mms", (1280, 600), (300, 640), 2),
        ("mms", (100, 90), (90, 100), 2),
    ],
)
def test_sides_quality_and_subsampling_of_the_apps(name, given, size, table):
    sent = get_channel(name)(noise(*given))
    assert Image.open(io.BytesIO(sent)).size == size
    assert luma(sent) == (table, (2, 2))
    assert len(sent) <= {"signal": 1024 * 1024, "mms": 300 * 1024}.get(name, 10**9)


@pytest.mark.parametrize(("levels", "quality"), [(60, 95), (256, 80)])
def test_an_mms_has_the_best_quality_that_fits(levels, quality):
    """Noise of 60 levels has 181 KiB at quality 95, of all levels 304 KiB, which is too much."""
    image = np.random.default_rng(0).integers(0, levels, (480, 640)).astype(np.uint8)
    assert mms(image) == jpeg(image, quality)


def test_signal_shrinks_until_the_file_fits():
    """At quality 100 noise of 1024 px has 1.6 MiB, and noise of black and white of 768 px has 1.06 MiB."""
    assert Image.open(io.BytesIO(signal(noise(1024, 1024), 100))).size == (768, 768)
    image = np.random.default_rng(0).integers(0, 2, (768, 768), np.uint8) * np.uint8(255)
    assert Image.open(io.BytesIO(signal(image, 100))).size == (512, 512)


@pytest.mark.parametrize(
    ("app", "steps"),
    [
        ("whatsapp", "resize:1600+jpeg:70"),
        ("whatsapp_hd", "resize:4096+jpeg:70"),
        ("whatsapp_web", "resize:1600+jpeg:92"),
        ("telegram", "resize:1280+jpeg:80"),
        ("signal", "resize:1600+jpeg:70"),
    ],
)
def test_what_the_apps_do_is_two_steps(app, steps):
    film = noise(60, 1700)
    assert get_channel(app)(film) == get_channel(steps)(film)


def film_with_a_jpeg_of(length, quality, shape):
    """A film whose JPEG is so long to the byte: so many pixels of noise, and one block drawn until it fits."""
    grains = noise(*shape)

    def film(count, seed=0):
        drawn = np.where(np.arange(grains.size).reshape(shape) < count, grains, np.uint8(0))
        drawn[:16, :16] = noise(16, 16, seed)
        return drawn

    low, high = 0, grains.size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(jpeg(film(middle), quality)) < length else (low, middle)
    return next(film(low, seed) for seed in range(999) if len(jpeg(film(low, seed), quality)) == length)


def test_a_file_of_exactly_the_limit_is_sent_and_one_byte_more_is_not():
    for length, quality in ((300 * 1024, 95), (300 * 1024 + 1, 80)):
        film = film_with_a_jpeg_of(length, 95, (480, 640))
        assert mms(film) == jpeg(film, quality)
    for length, side in ((1024 * 1024, 1040), (1024 * 1024 + 1, 1024)):
        film = film_with_a_jpeg_of(length, 100, (720, 1040))
        assert Image.open(io.BytesIO(signal(film, 100))).width == side
