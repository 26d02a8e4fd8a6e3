from dataclasses import replace

import numpy as np
import pytest

from covidmt.prediction.answer import Prediction
from covidmt.prediction.picture import ROOM, WIDTH, draw_prediction, wrap
from covidmt.prediction.predictor import ExplainedImage
from experiments.schema import Robustness, Target
from explain.decision import Decision
from explain.picture import ALARM, font

HEAT = np.linspace(0, 1, 16, dtype=np.float32)[None].repeat(16, 0)


def explained(height=40, width=30, **changes):
    decision = Decision("COVID-19", 2)
    prediction = Prediction("a/x.png", decision, 0.7, True, {}, 0.3, True, 0.8, 0.4, (width, height), 16, False)
    image = np.full((height, width), 128, np.uint8)
    lung = np.ones((16, 16), bool)
    return ExplainedImage(replace(prediction, **changes), image, HEAT, HEAT >= 0.5, lung, "COVID-19", cells=(16, 16))


@pytest.mark.parametrize(("height", "width"), [(1, 900), (900, 1), (40, 30)])
def test_any_proportions_fit_one_width(height, width):
    picture = draw_prediction(explained(height, width), Robustness())
    assert picture.shape[1:] == (WIDTH, 3)
    assert picture.dtype == np.uint8


def test_a_warning_makes_the_picture_higher_and_the_folder_is_not_shown():
    plain = draw_prediction(explained(), Robustness())
    assert len(draw_prediction(explained(coloured=True), Robustness())) > len(plain)
    assert (draw_prediction(explained(image="secret/x.png"), Robustness()) == plain).all()


def test_lines_are_of_whole_words_and_none_is_too_wide():
    lines = wrap("word " * 300 + "w" * 500, font(16))
    assert len(lines) > 2
    assert all(font(16).getlength(line) <= ROOM for line in lines)
    assert set(" ".join(lines[:-1]).split()) == {"word"}
    assert "…" in lines[-1]


def test_the_picture_says_what_is_explained_and_of_how_few_cells_the_map_is():
    plain = draw_prediction(explained(), Robustness())
    coarse = draw_prediction(replace(explained(), cells=(4, 4)), Robustness())
    changed = np.argwhere((plain != coarse).any(axis=2))
    assert len(changed)
    assert (coarse[tuple(changed.T)] == ALARM).all(axis=1).any()  # in the colour of warnings
    others = [draw_prediction(explained(), Robustness(target=target)) for target in Target]
    assert len({other.tobytes() for other in others}) == len(Target)
