import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from datamodules.channels.registry import get_channel
from datamodules.channels.screen import camera
from datamodules.images.decode import decode


@pytest.mark.parametrize(("given", "shown"), [((600, 400), (1080, 1620)), ((3000, 1000), (640, 1920))])
def test_a_screenshot_fills_the_screen_without_loss(given, shown):
    flat = np.full(given, 77, np.uint8)
    sent = get_channel("screenshot")(flat)
    assert Image.open(io.BytesIO(sent)).format == "PNG"
    assert Image.open(io.BytesIO(sent)).size == shown
    assert (decode(sent) == 77).all()


def test_a_photo_of_a_screen_differs_by_content_and_keeps_the_picture():
    y, x = np.mgrid[:300, :400]
    image = (40 + 80 * (x > 200) + 80 * (y > 150)).astype(np.uint8)
    photo = decode(get_channel("camera")(image))
    other = decode(get_channel("camera")(np.roll(image, 1)))
    assert max(photo.shape) == pytest.approx(1600, rel=0.06)
    assert photo.shape != other.shape or (photo != other).any()
    height, width = photo.shape
    at = [photo[int(height * v) - 9 : int(height * v) + 9, int(width * u) - 9 : int(width * u) + 9] for u, v in CORNERS]
    assert at[0].mean() + 20 < at[1].mean() < at[2].mean() - 20
    assert 1 < at[1].std() < 20  # grid and noise, no more


def test_a_photo_is_the_same_in_every_process_and_version():
    """Size, grey levels of its sixteenths and of some pixels, then how much neighbours differ and how alike they are.

    These figures may change with a reason alone: what was measured with the channel would be of another one.
    """
    y, x = np.mgrid[:150, :200]
    film = (30 + (x > 100) * 90 + (y > 75) * 60 + (x + y) % 7 * 5).astype(np.uint8)
    for seed, shape, levels, grains, apart, alike in PHOTOS:
        photo = decode(camera(film, seed)).astype(float)
        assert photo.shape == shape
        rows, columns = (np.linspace(0, side, 5).astype(int) for side in shape)
        blocks = [[photo[a:b, c:d].mean() for c, d in pairwise(columns)] for a, b in pairwise(rows)]
        np.testing.assert_allclose(blocks, levels, atol=0.3)
        assert (np.diff(photo, axis=1).std(), np.diff(photo, axis=0).std()) == pytest.approx(apart, rel=0.02)
        assert photo[300::300, 300::300].tolist() == [pytest.approx(row, abs=3) for row in grains]
        cut = photo[shape[0] // 3 :, shape[1] // 3 :][:64, :64]
        assert np.corrcoef(cut[:, :-1].ravel(), cut[:, 1:].ravel())[0, 1] == pytest.approx(alike, abs=0.01)
    assert camera(film) == camera(film, 0)


def test_a_monitor_shows_a_film_with_more_pixels_than_its_own_by_means():
    """Every third column of the left half is white, so that it has a third of the right half's light."""
    film = np.zeros((200, 4320), np.uint8)
    film[:, 2:2160:3] = film[:, 2160:] = 255
    photo = decode(camera(film)).astype(float)
    middle, width = photo[photo.shape[0] // 2 - 20 :][:40], photo.shape[1]
    left, right = (middle[:, part * width // 4 - 50 :][:, :100].mean() for part in (1, 3))
    assert left / right == pytest.approx((1 / 3) ** (1 / 2.2), abs=0.03)


def test_a_screenshot_is_halved_by_block_means_and_then_bilinear():
    """Columns 0 and 200 in turns, four times too wide: both halvings give 100. Twice: the one gives 100."""
    stripes = np.tile(np.array([0, 200], np.uint8), (30, 2160))
    for width in (4320, 2160):
        assert (decode(get_channel("screenshot")(stripes[:, :width])) == 100).all()
    almost = decode(get_channel("screenshot")(stripes[:, :2000]))  # not halved: aliased
    assert almost.std() > 20
    assert decode(get_channel("screenshot")(np.full((1, 5000), 9, np.uint8))).shape == (1, 1080)
    assert decode(get_channel("screenshot")(np.full((5000, 1), 9, np.uint8))).shape == (1920, 1)


PHOTOS = (
    (
        0,
        (1170, 1560),
        [
            [63.42, 67.15, 133.66, 115.94],
            [63.58, 66.7, 156.0, 134.83],
            [106.75, 122.45, 223.46, 181.82],
            [86.77, 100.7, 184.56, 153.79],
        ],
        [[73, 69, 160, 157, 61], [125, 136, 239, 226, 60], [118, 127, 228, 229, 51]],
        (4.036, 4.048),
        0.858,
    ),
    (
        1,
        (1235, 1647),
        [
            [50.75, 55.63, 134.04, 115.93],
            [57.95, 62.45, 161.07, 137.55],
            [109.36, 126.59, 229.08, 192.35],
            [96.47, 107.73, 177.31, 151.08],
        ],
        [[61, 68, 165, 159, 145], [70, 66, 159, 151, 156], [125, 121, 223, 216, 236], [51, 58, 61, 55, 58]],
        (4.066, 4.049),
        0.8898,
    ),
)
CORNERS = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75))
