"""Calibration: slopes that are known, and intervals that hold where the calibration error's did not."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from metrics.inference.calibration import calibration_slope
from tests.helpers.coverage import simulations


def test_logits_that_are_twice_too_large_have_half_the_slope():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-logit))
    slopes = [calibration_slope(truth, 1 / (1 + np.exp(-k * logit)), np.arange(4000)).value for k in (1, 2)]
    assert slopes == pytest.approx([1, 0.5], abs=0.08)
    assert slopes[0] == pytest.approx(2 * slopes[1])


def test_the_slope_is_that_of_a_logistic_regression():
    rng = np.random.default_rng(1)
    logit = rng.normal(size=300)
    truth = rng.random(300) < 1 / (1 + np.exp(0.5 - logit))
    library = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], truth)
    assert calibration_slope(truth, 1 / (1 + np.exp(-logit)), np.arange(300)).value == pytest.approx(
        float(library.coef_[0, 0]), abs=1e-4
    )


def test_images_of_one_patient_move_together_and_certainty_is_no_infinity():
    """Five equal images each: the same interval. Probabilities of 0 and 1 are read as a millionth away from them."""
    rng = np.random.default_rng(0)
    p = np.append(rng.random(98), [0.0, 1.0])
    truth = rng.random(100) < p
    truth[:4] = ~truth[:4]
    once = calibration_slope(truth, p, np.arange(100))
    assert once.low < once.value < once.high
    near = calibration_slope(truth, np.clip(p, 1e-6, 1 - 1e-6), np.arange(100))
    assert near == once
    assert calibration_slope(truth.repeat(5), p.repeat(5), np.arange(100).repeat(5)) == pytest.approx(once)
    assert calibration_slope(~truth, 1 - p, np.arange(100)) == pytest.approx(once)  # of the other class alike


def test_its_interval_by_hand():
    """Log-odds of -1 and 1, of 50 images each; 15 and 35 are positive, rates of 0.3 and 0.7.

    So b is half of logit(0.7) - logit(0.3), which is ln(7 / 3). Each logit's variance is 1 / npq = 1 / 10.5.
    """
    p = 1 / (1 + np.exp(-np.repeat([-1.0, 1.0], 50)))
    truth = np.concatenate([np.arange(50) < 15, np.arange(50) < 35])
    value, low, high = calibration_slope(truth, p, np.arange(100))
    half = 2.00958 * (2 / 10.5 / 4 * 100 / 99) ** 0.5  # t(49)
    assert (value, low, high) == pytest.approx((np.log(7 / 3), np.log(7 / 3) - half, np.log(7 / 3) + half), abs=1e-5)


def test_where_it_cannot_be_known_there_is_none():
    p = np.linspace(0.1, 0.9, 60)
    assert np.isnan(calibration_slope(p > 0.5, p, np.arange(60))).all()  # a threshold tells all right
    assert np.isnan(calibration_slope(p < 0.5, p, np.arange(60))).all()  # or all wrong
    touching = np.where(np.abs(p - 0.5) < 0.02, 0.5, p)
    assert np.isnan(calibration_slope(p > 0.5, touching, np.arange(60))).all()  # also where some are equal
    assert np.isnan(calibration_slope(np.arange(60) == 7, p, np.arange(60))).all()  # one positive
    assert np.isnan(calibration_slope(np.arange(60) % 2 == 0, np.full(60, 0.5), np.arange(60))).all()


@pytest.mark.parametrize("score", ["Brier score", "calibration slope", "probability minus frequency"])
def test_intervals_hold_the_truth(score):
    """1,000 images of a calibrated network: the calibration error's interval, 0.037 to 0.074, never held 0."""
    module = simulations()
    truth = module._probability_truth(0.3, 1.0)[score]
    draw = module._probability_draw(np.arange(1000), 0.3, 1.0, score)
    assert module._coverage(draw, truth, 0, 200)[0] >= 0.9
