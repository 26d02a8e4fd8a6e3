from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from metrics.intervals import around, mean_interval, share_interval, t_interval, wilson
from tests.helpers.coverage import simulations


def test_hand_computed():
    # p = 0.1, n = 100, z = 1.96: (0.1 + 0.019207 -+ 1.96 sqrt(0.0009 + 0.00009604)) / 1.038415
    assert wilson(10, 100) == pytest.approx((0.05523, 0.17437), abs=1e-5)


def test_ends_are_exact():
    assert wilson(0, 25)[0] == 0.0
    assert wilson(25, 25)[1] == 1.0
    assert wilson(0, 25)[1] > 0.1
    assert all(isnan(end) for end in wilson(0, 0))


def test_ends_are_exact_for_every_number():
    """Rounding would make some of them 1e-17, and some 1 - 1e-16."""
    assert {wilson(0, n)[0] for n in range(1, 300)} == {0.0}
    assert {wilson(n, n)[1] for n in range(1, 300)} == {1.0}


def test_another_confidence_and_another_quantile():
    expected = binomtest(10, 100).proportion_ci(confidence_level=0.8, method="wilson")
    assert wilson(10, 100, confidence=0.8) == pytest.approx((expected.low, expected.high))
    assert wilson(1, 2, quantile=2.0) == pytest.approx((0.5 - 1 / 6**0.5, 0.5 + 1 / 6**0.5))  # 3 / 6 -+ 2 / 6 sqrt(1.5)


def test_two_patients_have_students_quantile_and_one_has_wilsons_interval():
    """1 and 0: a variance of 1/4, a design effect of (2 + 1) / 2 on 1/8: as of 4/3 images, with t(1)."""
    two = share_interval(np.array([1.0, 0.0]), np.arange(2))
    assert two == pytest.approx((0.5, *wilson(2 / 3, 4 / 3, quantile=12.7062)), abs=1e-5)
    assert share_interval(np.array([1.0, 0.0]), np.zeros(2, int)) == (0.5, *wilson(0.5, 1))


def test_a_share_of_one_and_images_that_do_not_count():
    nan = np.nan
    assert share_interval(np.ones(40), np.arange(40), scale=100) == (100, 100 * wilson(40, 40)[0], 100)
    rows = np.array([1.0, 0, 0, nan, 1])
    assert share_interval(rows, np.array([0, 1, 2, 3, 4])) == share_interval(rows[[0, 1, 2, 4]], np.arange(4))
    assert np.isnan(share_interval(np.array([[1.0, 0], [nan, nan]]), np.arange(2))).all()  # of one training nothing
    assert np.isnan(share_interval(np.array([nan, nan]), np.arange(2))).all()


def test_trainings_that_are_alike_are_some_evidence():
    """Two equal ones of 50 patients: 0.85 of the variance 0.16 / 49, so as of 49 / 0.85 images, with t(49)."""
    n = 49 / 0.85
    found = share_interval(np.tile(np.arange(50) < 10, (2, 1)).astype(float), np.arange(50))
    assert found == pytest.approx((0.2, *wilson(0.2 * n, n, quantile=2.00958)), abs=1e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=30, deadline=None)
def test_equals_scipy(count):
    expected = binomtest(*count).proportion_ci(method="wilson")
    assert wilson(*count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_t_interval_of_three_runs_by_hand():
    """Mean 4, s = 1, t(2 degrees, 97.5 %) = 4.303: 4 -+ 4.303 / sqrt(3)."""
    assert t_interval([3, 4, 5]) == pytest.approx((4 - 2.4841, 4 + 2.4841), abs=1e-3)
    assert all(isnan(end) for end in t_interval([3.0]))
    assert all(isnan(end) for end in t_interval([3.0, 3.0, 3.0]))  # three that agree do not say how far others would be


def test_a_share_of_patients_with_one_image_each_is_wilsons_with_students_quantile():
    events = (np.arange(50) < 10).astype(float)
    value, low, high = share_interval(events, np.arange(50), scale=100)
    n = 0.2 * 0.8 / (0.2 * 0.8 / 50 * (10 * 50 / 49 + 1) / 11)  # its variance has P - 1, with one more patient seen
    assert value == 20
    assert (low, high) == pytest.approx(100 * np.array(wilson(0.2 * n, n, quantile=2.0096)), abs=1e-3)


def test_images_that_are_all_alike_count_once_a_patient():
    events = np.repeat((np.arange(40) < 4).astype(float), 5)
    alone, copied = share_interval(events[::5], np.arange(40)), share_interval(events, np.repeat(np.arange(40), 5))
    assert copied[1:] == pytest.approx(alone[1:], abs=0.01)
    assert share_interval(0 * events, np.repeat(np.arange(40), 5)).high == wilson(0, 40)[1]


@given(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_share_never_leaves_the_scale_nor_has_no_width(events, per_patient, seeds):
    rows = np.array([events] * seeds)
    value, low, high = share_interval(rows, np.arange(len(events)) // per_patient)
    if np.isnan(events).all():
        assert np.isnan([value, low, high]).all()
    else:
        assert 0 <= low <= value <= high <= 1
        assert high - low > 0.01


def test_trainings_that_differ_widen_the_interval_of_their_mean():
    alike = share_interval(np.tile(np.arange(60) < 12, (3, 1)).astype(float), np.arange(60))
    apart = share_interval(np.stack([np.arange(60) < n for n in (2, 12, 22)]).astype(float), np.arange(60))
    assert [apart.value, alike.value] == pytest.approx([0.2, 0.2])
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_small_sets_are_held():
    """47 patients with three images each, intraclass correlation 0.5: the percentile bootstrap held 86.5 %."""
    module = simulations()
    draw = module._share_draw(np.repeat(np.arange(47), 3), 0.75, 0.07)
    assert module._coverage(draw, 0.07, 0, 500)[0] >= 0.93


def test_means_in_the_scale():
    values = np.array([0.99, 0.97, 1.0, 0.9])
    value, low, high = mean_interval(values, np.arange(4), whole=1.0)
    assert 0 < low < value < high < 1
    assert np.isnan(mean_interval(np.full(9, 0.3), np.arange(9), whole=1.0)[1:]).all()
    free = mean_interval(values, np.arange(4))
    assert free[1:] == pytest.approx(t_interval(values.tolist()))


def test_a_mean_over_patients_by_hand():
    """Patients' sums of 3 and 1 of three images: influences (3 - 8 / 3) 2 / 3 = 2 / 9 and -2 / 9, and t(1)."""
    found = mean_interval(np.array([1.0, 2.0, np.nan, 1.0]), np.array([5, 5, 6, 7]))
    half = 12.7062 * (2 * (2 / 9) ** 2 / 2) ** 0.5
    assert found == pytest.approx((4 / 3, 4 / 3 - half, 4 / 3 + half), abs=1e-4)
    assert mean_interval(np.array([1.0, 2.0]), np.array([5, 5])) == pytest.approx((1.5, np.nan, np.nan), nan_ok=True)
    assert np.isnan(mean_interval(np.array([np.nan]), np.array([0]))).all()


@pytest.mark.parametrize("value", [0.3, -0.3, 0.0, 3e5])
def test_equal_values_tell_nothing_of_others(value):
    found = mean_interval(np.full(5, value), np.arange(5))
    assert found.value == pytest.approx(value)
    assert isnan(found.low)
    assert isnan(found.high)


def test_an_interval_in_log_odds_by_hand():
    """0.9 has log-odds of ln 9 = 2.1972; 0.3 / (0.9 * 0.1) = 3.3333 to either side."""
    assert around(0.9, 0.3, whole=1.0) == pytest.approx((0.9, 0.24303, 0.99605), abs=1e-5)
    assert around(90.0, 30.0, whole=100.0) == pytest.approx((90, 24.303, 99.605), abs=1e-3)
    assert around(0.9, 0.3) == pytest.approx((0.9, 0.6, 1.2))
    assert around(0.5, 1000.0, whole=1.0)[1:] == pytest.approx((np.exp(-700), 1))  # no overflow
    for value, half in ((0.0, 0.1), (1.0, 0.1), (0.5, np.nan)):
        assert around(value, half, whole=1.0) == pytest.approx((value, np.nan, np.nan), nan_ok=True)


def test_students_interval_of_two_runs_and_of_another_confidence():
    assert t_interval([1.0, 2.0]) == pytest.approx((1.5 - 6.35310, 1.5 + 6.35310), abs=1e-4)  # 12.7062 / 2
    assert t_interval([1.0, 2.0, 3.0], confidence=0.9) == pytest.approx((2 - 1.68586, 2 + 1.68586), abs=1e-4)
