import io
import pickle

import numpy as np
import pytest
from PIL import Image

from datamodules.channels.chance import RandomChannel, content_generator, draw_channel
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode


def film(seed: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def luma(file: bytes) -> list[int]:
    """The JPEG's first quantisation table, which its quality decides."""
    return list(Image.open(io.BytesIO(file)).quantization[0])


def test_an_image_is_received_in_the_same_way_in_every_process_and_version():
    """Its shape counts, and its seed: these draws may change with a reason alone."""
    image = np.arange(12, dtype=np.uint8)
    draws = [((3, 4), 0), ((3, 4), 1), ((4, 3), 0)]
    found = [content_generator(image.reshape(shape), seed).integers(10**6) for shape, seed in draws]
    assert found == [943226, 593735, 328908]
    assert content_generator(image.reshape(3, 4)).integers(10**6) == 943226


def test_every_quality_of_the_range_comes_up_and_no_other():
    channel = get_channel("whatsapp:quality=70..73")
    allowed = {tuple(luma(get_channel(f"jpeg:{quality}")(film(0)))) for quality in range(70, 74)}
    assert {tuple(luma(channel(film(seed)))) for seed in range(60)} == allowed


def test_an_image_is_received_in_the_same_way_again_and_other_draws_differ():
    channel = get_channel("resize:20..50+jpeg:30..95")
    assert isinstance(channel, RandomChannel)
    again = pickle.loads(pickle.dumps(channel))  # workers may be spawned
    assert again(film(1)) == channel(film(1))
    assert channel.draw(0)(film(1)) == channel(film(1)) == get_channel("resize:20..50+jpeg:30..95", seed=0)(film(1))
    sizes = {decode(channel.draw(seed)(film(1))).shape for seed in range(30)}
    assert len(sizes) > 5
    assert all(20 <= max(size) <= 50 for size in sizes)


@pytest.mark.parametrize("name", ["camera", "camera+whatsapp"])
def test_a_photo_is_drawn_too_and_the_first_is_the_plain_one(name: str):
    channel = get_channel(name)
    photos = [draw_channel(channel, seed)(film(2)) for seed in (0, 1, 2)]
    assert len(set(photos)) == 3
    assert photos[0] == channel(film(2))


def test_what_is_not_random_stays_as_it_is():
    channel = get_channel("whatsapp:quality=92,side=40")
    assert draw_channel(channel, 5) is channel
    assert channel(film(3)) == get_channel("resize:40+jpeg:92")(film(3))
    assert get_channel("whatsapp") is draw_channel(get_channel("whatsapp"), 3)
