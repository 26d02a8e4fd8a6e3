"""Calibration: slopes that are known, and intervals that hold where the calibration error's did not."""

import numpy as np
import pytest

from metrics.inference.calibration import calibration_slope
from tests.helpers.coverage import simulations


def test_logits_that_are_twice_too_large_have_half_the_slope():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-logit))
    slopes = [calibration_slope(truth, 1 / (1 + np.exp(-k * logit)), np.arange(4000)).value for k in (1, 2)]
    assert slopes == pytest.approx([1, 0.5], abs=0.08)
    assert slopes[0] == pytest.approx(2 * slopes[1])


def test_where_it_cannot_be_known_there_is_none():
    p = np.linspace(0.1, 0.9, 60)
    assert np.isnan(calibration_slope(p > 0.5, p, np.arange(60))).all()  # a threshold tells all right
    assert np.isnan(calibration_slope(np.arange(60) == 7, p, np.arange(60))).all()  # one positive
    assert np.isnan(calibration_slope(np.arange(60) % 2 == 0, np.full(60, 0.5), np.arange(60))).all()


@pytest.mark.parametrize("score", ["Brier score", "calibration slope", "probability minus frequency"])
def test_intervals_hold_the_truth(score):
    """1,000 images of a calibrated network: the calibration error's interval, 0.037 to 0.074, never held 0."""
    module = simulations()
    truth = module._probability_truth(0.3, 1.0)[score]
    draw = module._probability_draw(np.arange(1000), 0.3, 1.0, score)
    assert module._coverage(draw, truth, 0, 200)[0] >= 0.9
