import io

import numpy as np
import pytest
from PIL import Image

from datamodules.channels.registry import get_channel
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


CORNERS = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75))
