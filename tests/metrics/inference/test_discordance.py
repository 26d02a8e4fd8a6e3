"""On how many patients two disagree, by hand and by scipy's exact tests."""

import numpy as np
import pytest
from scipy.stats import binomtest

from metrics.inference.discordance import Disagreement, disagreement


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 5), (6, 6), (12, 10), (40, 27), (3000, 1600)])
def test_p_value_and_end_are_those_of_scipy(n: int, k: int):
    test = binomtest(k, n)
    apart = Disagreement(n, k)
    assert apart.p_value(1.0) == pytest.approx(test.pvalue)
    low = test.proportion_ci(method="exact").low
    difference = 0.01 * (2 * k - n)  # each of them is worth 0.01
    assert apart.end(difference) == pytest.approx(0.01 * n * (2 * low - 1))
    assert (apart.end(difference) > 0) == (test.pvalue < 0.05)


def test_a_difference_against_most_signs_is_not_found():
    assert Disagreement(10, 9).p_value(-1.0) == 1
    assert Disagreement(10, 9).end(-1.0) > 0
    assert Disagreement(0, 0).p_value(1.0) == 1


def test_a_patient_counts_by_the_sign_of_its_net_difference():
    patients = np.array([0, 0, 0, 1, 1, 2])
    first, second = np.array([[1.0, 0, 0, 1, 0, 0]]), np.array([[0.0, 1, 1, 0, 1, 0]])
    assert disagreement(first, second, patients) == (1, 1)  # +1 of patient 0, 0 of patient 1, who changes twice


def test_signs_tell_nothing_of_means_and_of_other_images():
    events, patients = np.array([[1.0, 0, 1, 0]]), np.arange(4)
    assert disagreement(events, np.array([[1.0, np.nan, 0, 0]]), patients) == (2, None)
    assert disagreement(events, np.array([[1.0, 0.5, 1, 0]]), patients) == (1, None)
    assert disagreement(events, np.array([[1.0, 0, 1, 0], [1, 1, 1, 0]]), patients) == (1, None)
    assert disagreement(events, events, patients) == (0, 0)


def test_a_difference_that_goes_with_nobody_ends_at_its_other_side():
    assert Disagreement(3, 0).end(1.0) == -3
