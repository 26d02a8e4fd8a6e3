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


def test_influences_by_hand():
    """Three images of two patients: means 1/3 and 2/3; (1 - 2/3) 2/3 and (0 - 1/3) 2/3 of the first training."""
    found = influences(np.array([[1.0, 0, 0], [1, 1, 0]]), np.array([0, 0, 1]))
    assert found.means == pytest.approx([1 / 3, 2 / 3])
    assert found.patients == pytest.approx(np.array([[2, -2], [4, -4]]) / 9)
    assert (found.mean, found.images) == pytest.approx((1 / 2, 3))
    missing = influences(np.array([[1.0, np.nan], [1, 1]]), np.arange(2))
    assert missing.images == 1.5
    with np.errstate(all="raise"):
        assert np.isnan(influences(np.full((1, 2), np.nan), np.arange(2)).means).all()


@pytest.mark.parametrize(("freedom", "enough", "part"), [(1, 0.65, 0.85), (2, 0.65, 0.85), (3, 1.2, 0.95)])
def test_standard_errors_by_hand(freedom, enough, part):
    """Seeds that vary by no more than ``enough`` of what is in both make the patients' variance smaller; else two."""
    within = Variation(patients=4.0, both=2.0, seeds=2 * enough, n_patients=100, freedom=freedom)
    assert within.errors() == [(pytest.approx((4 * part) ** 0.5), 99)]
    beyond = Variation(patients=4.0, both=2.0, seeds=2 * enough + 0.05, n_patients=100, freedom=freedom)
    variance = 2 + 2 * enough + 0.05
    expected = [(2, 99), (pytest.approx(variance**0.5), pytest.approx(freedom * variance / (2 * enough + 0.05)))]
    assert beyond.errors() == expected


def test_no_more_degrees_of_freedom_than_patients_and_no_variance_below_the_seeds():
    few = Variation(patients=4.0, both=1.0, seeds=2.0, n_patients=3, freedom=4)
    assert few.errors() == [(2, 2), (pytest.approx(5**0.5), 2)]
    all_of_both = Variation(patients=1.0, both=3.0, seeds=9.0, n_patients=100, freedom=4)
    assert all_of_both.errors() == [(1, 99), (3, 4)]
    alone = Variation(patients=4.0, both=0.0, seeds=float("nan"), n_patients=5, freedom=0)
    assert alone.errors() == [(2, 4)]
    assert alone.with_patients(9.0).errors() == [(3, 4)]


def test_quantiles_and_p_values_are_students():
    alone = Variation(patients=4.0, both=0.0, seeds=float("nan"), n_patients=5, freedom=0)
    assert alone.quantiles() == [(2, pytest.approx(2.77645, abs=1e-5))]
    assert alone.quantiles(0.9) == [(2, pytest.approx(2.13185, abs=1e-5))]
    assert (alone.half_width(), alone.half_width(0.9)) == pytest.approx((2 * 2.77645, 2 * 2.13185), abs=1e-4)
    assert [alone.p_value(sign * 2 * 2.77645) for sign in (1, -1)] == pytest.approx([0.05, 0.05], abs=1e-6)
    both = Variation(patients=4.0, both=1.0, seeds=50.0, n_patients=100, freedom=2)
    assert both.half_width() == max(error * quantile for error, quantile in both.quantiles())
    assert both.p_value(both.half_width()) == pytest.approx(0.05)


def test_the_variances_of_two_sides_add_up():
    first = influences(np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]]), np.arange(4))
    second = influences(np.array([[0.0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]), np.arange(4))
    own, minus, parts = variation(first), variation(second), variation(first, second)
    assert parts.seeds == pytest.approx(own.seeds + minus.seeds)
    assert parts.both == pytest.approx(own.both + minus.both)
    assert (parts.freedom, parts.n_patients) == (1 + 2, 4)
    difference = first.patients.mean(axis=0) - second.patients.mean(axis=0)
    assert parts.patients == pytest.approx(difference @ difference / (4 * 3))
    assert variation(first, first).patients == 0

    single = influences(np.array([[0.0, 1, 0, 0]]), np.arange(4))
    alone = variation(first, single)
    assert np.isnan(alone.seeds)
    assert alone.both == 0
