"""Variances over patients and trainings, by hand."""

import numpy as np
import pytest

from metrics.inference.crossed import Variation, influences, variation


def test_one_training_has_the_variance_of_a_mean_over_patients():
    values = np.array([[1.0, 0, 0, 1, 0]])
    parts = variation(influences(values, np.arange(5)))
    assert parts.patients == pytest.approx(values.var(ddof=1) / 5)
    assert np.isnan(parts.seeds)
    assert parts.half_width() == pytest.approx(2.7764 * np.sqrt(parts.patients), abs=1e-4)  # t(4)


def test_the_parts_of_two_trainings_by_hand():
    """Rows 1 0 0 0 and 1 1 0 0: means 1/4 and 1/2; patients' means 1, 1/2, 0, 0 about 3/8."""
    parts = variation(influences(np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]]), np.arange(4)))
    own = np.array([5, 1, -3, -3]) / 8
    assert parts.patients == pytest.approx(own @ own / 12)
    assert parts.seeds == pytest.approx((1 / 8) ** 2 * 2 / 2)
    apart = np.array([[1, -3, 1, 1], [-1, 3, -1, -1]]) / 8
    assert parts.both == pytest.approx((apart**2).sum() / 2 / 12)


def test_a_missing_image_counts_in_no_sum():
    """One of two images of a patient is unknown: the mean is a ratio of sums, 2 / 3."""
    found = influences(np.array([[1.0, np.nan, 0, 1]]), np.array([0, 0, 1, 2]))
    assert found.mean == pytest.approx(2 / 3)
    assert found.patients.sum() == pytest.approx(0)


def test_trainings_that_vary_by_no_more_than_noise_add_nothing_and_others_do():
    alike = Variation(patients=1.0, both=0.5, seeds=0.1, n_patients=1000, freedom=4)
    assert alike.half_width() == pytest.approx(1.962 * np.sqrt(0.95), abs=0.01)
    apart = Variation(patients=1.0, both=0.5, seeds=100.0, n_patients=1000, freedom=4)
    assert apart.half_width() == pytest.approx(2.776 * np.sqrt(100.5), rel=0.01)  # t(4)
    assert apart.p_value(apart.half_width()) == pytest.approx(0.05)


def test_trainings_that_are_all_alike_have_no_degrees_of_freedom():
    """One side never flips, the other's three trainings flip 1, 4 and 2 of 69 pairs: what they say is all there is."""
    flips = np.zeros((3, 69))
    for row, count in enumerate((1, 4, 2)):
        flips[row, :count] = 1
    patients = np.arange(69)
    never = influences(np.zeros((3, 69)), patients)
    found = variation(influences(flips, patients), never)
    assert found.freedom == 2
    assert variation(never, never).freedom == 4
    alone = variation(influences(flips, patients))
    assert found.half_width() == pytest.approx(alone.half_width())
    assert found.p_value(100 * flips.mean()) != found.p_value(0)
