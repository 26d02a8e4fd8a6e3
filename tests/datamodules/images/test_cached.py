import pickle
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from datamodules.images.cached import CachedImages, stride
from experiments.errors import UserError

FILMS = [np.full((3, 3), value, np.uint8) for value in (10, 20)]


@pytest.fixture
def images(tmp_path: Path) -> CachedImages:
    path = tmp_path / "films.pixels"
    path.write_bytes(b"".join(film.tobytes().ljust(stride(3), b"\0") for film in FILMS))
    checks = np.array([crc32(film.data) for film in FILMS[::-1]], np.uint32)
    return CachedImages(path, 3, np.array([1, 0]), checks, np.array([[3, 3], [3, 3]]))


def test_images_in_the_order_that_was_asked_for(images: CachedImages):
    assert len(images) == 2
    assert [int(images[i][0, 0]) for i in range(2)] == [20, 10]
    assert np.array_equal(pickle.loads(pickle.dumps(images))[0], FILMS[1])  # as a worker gets them


def test_other_pixels_are_damage(images: CachedImages):
    with images.path.open("r+b") as file:
        file.write(b"\1")
    assert [images.is_sound(i) for i in range(2)] == [True, False]
    with pytest.raises(UserError, match=r"films\.pixels: image 1 is damaged"):
        images[1]


def test_images_begin_at_pages():
    assert stride(512) == 512 * 512
    assert stride(3) % 4096 == 0 < stride(3)
