import numpy as np
import pytest

from experiments.schema import Robustness
from explain.decision import Decision
from explain.picture import HEIGHT, WIDTH, Side, blend, draw_pair, font, shorten


def side(**changes):
    image = np.full((64, 64), 128, np.uint8)
    heat = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    return Side(image, heat, heat >= 0.5, 0.7, 0.5)._replace(**changes)


def drawn(original=None, received=None, lung=None, label=1.0, caption="a.png"):
    lung = np.eye(64, dtype=bool) if lung is None else lung
    decision = Decision("COVID-19", 0)
    return draw_pair(original or side(), received or side(), lung, label=label, caption=caption, decision=decision,
                settings=Robustness())  # fmt: skip


@pytest.mark.parametrize("size", [48, 700])
def test_picture_has_one_size_whatever_comes(size):
    nothing = Side(
        np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32), np.zeros((size, size), bool),
        float("nan"), float("nan"),
    )  # fmt: skip
    picture = drawn(nothing, nothing, np.zeros((size, size), bool), float("nan"), "Röntgen  (é) " * 40)
    assert picture.shape == (HEIGHT, WIDTH, 3)


def test_picture_shows_heat_and_flip():
    cold = side(heat=np.zeros((64, 64), np.float32), region=np.zeros((64, 64), bool))
    blank = drawn(cold, cold, np.zeros((64, 64), bool))
    assert (drawn() != blank).any()
    assert (drawn(side(), side(probability=0.2)) != drawn()).any()


def test_what_is_cold_stays_grey_and_what_is_hot_shows_the_anatomy():
    grey = np.array([[0, 255]], np.uint8)
    assert blend(grey, np.zeros((1, 2))).tolist() == [[[0] * 3, [255] * 3]]
    assert (blend(grey, np.ones((1, 2)))[0, 1] > blend(grey, np.ones((1, 2)))[0, 0]).all()


def test_a_long_text_loses_its_middle():
    assert shorten("a.png", font(14), 100) == "a.png"
    short = shorten("a" * 99 + ".png", font(14), 100)
    assert font(14).getlength(short) <= 100
    assert short.startswith("aaa")
    assert short.endswith(".png")
