import numpy as np
import pytest

from experiments.schema import Robustness, Target
from explain.decision import Decision
from explain.picture import (
    ALARM,
    HEIGHT,
    TOP,
    WIDTH,
    XRAY,
    Side,
    blend,
    cells_text,
    draw_pair,
    font,
    is_coarse,
    shorten,
)


def side(**changes):
    image = np.full((64, 64), 128, np.uint8)
    heat = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    return Side(image, heat, heat >= 0.5, 0.7, positive=True, iol=0.5, cells=(16, 16))._replace(**changes)


def drawn(original=None, received=None, lung=None, label=1.0, caption="a.png", settings=None):
    lung = np.eye(64, dtype=bool) if lung is None else lung
    decision = Decision("COVID-19", 0)
    return draw_pair(original or side(), received or side(), lung, label=label, caption=caption, decision=decision,
                settings=settings or Robustness())  # fmt: skip


@pytest.mark.parametrize("size", [48, 700])
def test_picture_has_one_size_whatever_comes(size):
    nothing = Side(
        np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32), np.zeros((size, size), bool),
        float("nan"), False, float("nan"), (1, 1),
    )  # fmt: skip
    picture = drawn(nothing, nothing, np.zeros((size, size), bool), float("nan"), "Röntgen  (é) " * 40)
    assert picture.shape == (HEIGHT, WIDTH, 3)


def test_picture_shows_heat_and_flip():
    cold = side(heat=np.zeros((64, 64), np.float32), region=np.zeros((64, 64), bool))
    blank = drawn(cold, cold, np.zeros((64, 64), bool))
    assert (drawn() != blank).any()
    assert (drawn(side(), side(positive=False)) != drawn()).any()


def test_the_picture_says_what_is_explained_and_of_how_few_cells_the_map_is():
    below = slice(TOP + XRAY, None)
    fine, coarse = drawn(), drawn(side(cells=(4, 4)))
    assert (fine != coarse)[below].any()
    assert (coarse[below] == ALARM).all(axis=2).any()
    assert not (fine[below] == ALARM).all(axis=2).any()
    pictures = [drawn(settings=Robustness(target=target)) for target in Target]
    assert all((pictures[0] != other)[below].any() for other in pictures[1:])


def test_few_cells():
    assert [is_coarse((side, side)) for side in (1, 4, 6, 7, 16)] == [True, True, True, False, False]
    assert cells_text((7, 8)) == "map of 7 x 8 cells"
    assert cells_text((2, 2)) == "coarse map of 2 x 2 cells: each is 25.0 % of the image"


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
