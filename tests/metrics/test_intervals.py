from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from metrics.intervals import t_interval, wilson


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
