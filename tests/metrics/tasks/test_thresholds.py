import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.schema import ThresholdRule
from metrics.tasks.thresholds import choose_threshold

P, Y = np.array([0.1, 0.2, 0.3, 0.4, 0.8]), np.array([0.0, 1, 0, 1, 1])


def test_by_hand():
    assert choose_threshold(P, Y, ThresholdRule.fixed) == 0.5
    assert choose_threshold(P, Y, ThresholdRule.youden) == pytest.approx(0.35)  # finds 2 of 3, none wrongly
    assert choose_threshold(P, Y, ThresholdRule.sensitivity, 1.0) == pytest.approx(0.15)
    assert choose_threshold(P, Y, ThresholdRule.sensitivity, 0.3) == pytest.approx(0.6)


@pytest.mark.parametrize("rule", list(ThresholdRule))
def test_what_tells_nothing_leaves_a_half(rule):
    for truth in (np.ones(5), np.zeros(5), np.full(5, np.nan)):
        assert choose_threshold(P, truth, rule) == 0.5
    assert choose_threshold(np.empty(0), np.empty(0), rule) == 0.5
    worse = choose_threshold(P[:2], np.array([1.0, 0]), ThresholdRule.youden)
    assert worse == 0.5  # the label's image has the lower probability


def test_unknown_labels_and_missing_probabilities_count_for_nothing():
    p, y = np.append(P, [0.9, np.nan]), np.append(Y, [np.nan, 0])
    for rule in ThresholdRule:
        assert choose_threshold(p, y, rule) == choose_threshold(P, Y, rule)


def test_the_nearest_probabilities_are_parted():
    """No float32 lies between two of them, and no double between two doubles, of which the higher one is taken."""
    for kind in (np.float32, np.float64):
        p = np.array([0.5, np.nextafter(kind(0.5), kind(1))], kind)
        threshold = choose_threshold(p, np.array([0.0, 1.0]), ThresholdRule.youden)
        assert (p.astype(float) >= threshold).tolist() == [False, True]


def test_a_threshold_never_calls_everything_or_nothing():
    """Probabilities of 0 and 1: the threshold stays a millionth away from either."""
    assert choose_threshold(np.array([0.0, 0.0, 0.0]), np.array([1, 0, 1]), ThresholdRule.sensitivity) == 1e-6
    assert choose_threshold(np.array([1.0, 1.0]), np.array([1, 0]), ThresholdRule.sensitivity) == 0.5
    assert choose_threshold(np.array([3.0, 2.0]), np.array([1, 0]), ThresholdRule.youden) == 1 - 1e-6


def test_nine_of_ten_are_found_unless_told():
    p, y = np.arange(1, 21) / 21, (np.arange(20) >= 10).astype(float)
    assert choose_threshold(p, y, ThresholdRule.sensitivity) == pytest.approx(11.5 / 21)


def test_of_equal_gains_the_highest_threshold_is_taken():
    """At 0.9 and at 0.6 sensitivity + specificity - 1 is one half."""
    p, y = np.array([0.9, 0.7, 0.6, 0.3]), np.array([1.0, 0, 1, 0])
    assert choose_threshold(p, y, ThresholdRule.youden) == pytest.approx(0.8)


images = st.lists(st.tuples(st.floats(0.001, 0.999), st.integers(0, 1)), min_size=2, max_size=30)


@given(images, st.floats(0.05, 1))
@settings(max_examples=80, deadline=None)
def test_no_other_threshold_is_better(rows, wanted):
    p, y = (np.array(column, float) for column in zip(*rows, strict=True))
    if len(set(y)) < 2:
        return

    def rates(t):
        return (p[y == 1] >= t).mean(), (p[y == 0] >= t).mean()

    t = choose_threshold(p, y, ThresholdRule.sensitivity, wanted)
    assert 0 < t < 1
    assert rates(t)[0] >= wanted - 1e-9
    assert all(rates(higher)[0] < wanted for higher in p[p > t] + 1e-9 if rates(higher)[0] < rates(t)[0])
    t = choose_threshold(p, y, ThresholdRule.youden)
    best = max(np.subtract(*rates(each)) for each in p)
    assert np.subtract(*rates(t)) == pytest.approx(best) or best <= 0
    assert 0 < t < 1


def test_the_middle_of_two_neighbours_in_single_precision_lies_between_them():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    threshold = choose_threshold(np.array([low, high]), np.array([0.0, 1.0]), ThresholdRule.youden)
    assert float(low) < threshold < float(high)
