import numpy as np
import pytest

from covidmt.probing.few_shot import few_shot


def data(noise: float):
    """Two directions with noise, of 40 training and 40 test images."""
    rng = np.random.default_rng(0)
    classes = np.array(["a", "b"] * 40)
    centres = np.where((classes == "a")[:, None], [10.0, 0.0], [0.0, 10.0])
    return centres + rng.normal(0, noise, (80, 2)), classes, np.array(["train"] * 40 + ["test"] * 40)


def test_more_images_tell_more_and_the_draws_agree_more():
    one, ten = (few_shot(*data(8.0), k=k) for k in (1, 10))
    assert one is not None
    assert ten is not None
    assert one.accuracy < ten.accuracy < 1
    assert ten.high - ten.low < one.high - one.low
    assert one.low <= one.accuracy <= one.high


def test_a_draw_is_a_function_of_the_seed():
    assert few_shot(*data(8.0), k=2, draws=20) == few_shot(*data(8.0), k=2, draws=20)
    assert few_shot(*data(8.0), k=2, draws=20) != few_shot(*data(8.0), k=2, draws=20, seed=1)


def test_only_directions_count():
    """A mean is taken of features of length 1: one bright image does not outvote the others."""
    features, classes, split = data(0.1)
    features *= np.linspace(1, 1000, 80)[:, None]
    shots = few_shot(features, classes, split, k=3, draws=5)
    assert shots is not None
    assert shots.accuracy == 1.0


@pytest.mark.parametrize("k", [20, 21])
def test_not_more_than_there_are(k: int):
    shots = few_shot(*data(0.1), k=k, draws=2)
    assert (shots is None) == (k > 20)
