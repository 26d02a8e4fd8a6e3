from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from metrics.intervals import mean_interval, share_interval, t_interval, wilson
from tests.helpers.coverage import simulations


def test_hand_computed():
    # p = 0.1, n = 100, z = 1.96: (0.1 + 0.019207 -+ 1.96 sqrt(0.0009 + 0.00009604)) / 1.038415
    assert wilson(10, 100) == pytest.approx((0.05523, 0.17437), abs=1e-5)


def test_ends_are_exact():
    assert wilson(0, 25)[0] == 0.0
    assert wilson(25, 25)[1] == 1.0
    assert wilson(0, 25)[1] > 0.1
    assert all(isnan(end) for end in wilson(0, 0))


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
