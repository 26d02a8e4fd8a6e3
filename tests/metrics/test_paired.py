from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from metrics.paired import flips, holm, mcnemar, out_of_lungs


def test_mcnemar_by_hand():
    """Four discordant pairs, all on one side: p = 2 / 2^4."""
    first = np.array([[1, 1, 1, 1, 1, 0, nan, 1]])
    second = np.array([[0, 0, 0, 0, 1, 0, 1, nan]])
    assert mcnemar(first, second) == (4, 0, pytest.approx(0.125))
    assert mcnemar(second, first) == (0, 4, pytest.approx(0.125))
    assert mcnemar(first, first) == (0, 0, 1.0)


def test_a_pair_counts_once_over_several_seeds():
    """Under the first configuration more often: pairs 0 and 1; under the second: pair 2; as often: pair 3."""
    first = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]])
    second = np.array([[0, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1]])
    assert mcnemar(first, second) == (2, 1, 1.0)
    with pytest.raises(ValueError, match="equally many seeds"):
        mcnemar(first, second[:2])


@given(st.lists(st.tuples(st.sampled_from([0, 1, nan]), st.sampled_from([0, 1, nan])), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_mcnemar_counts_by_loop(pairs):
    first, second = np.array(pairs, float).T
    result = mcnemar(first[None], second[None])
    b, c = sum(pair == (1, 0) for pair in pairs), sum(pair == (0, 1) for pair in pairs)
    assert result[:2] == (b, c)
    assert result.p == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)


def test_p_values_are_adjusted_for_their_number():
    # statsmodels' multipletests(p, method="holm") gives these
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([nan, 0.01, 0.03])[1:] == pytest.approx([0.02, 0.03])
    assert np.isnan(holm([nan, 0.01])[0])


def test_flips_and_saliency_out_of_the_lungs_in_the_networks_precision():
    """The float32 next to 0.7 is smaller, that next to 0.1 larger; a table on disk has either as its decimal."""
    for edge in (0.1, 0.7):
        for written in (np.float32(edge), float(np.float32(edge)), edge):
            assert flips(np.array([written]), np.array([1.0]), edge).tolist() == [0]
            assert out_of_lungs(np.array([written]), edge).tolist() == [0]
    below = np.array([np.nextafter(np.float32(0.7), np.float32(0))])
    assert flips(below, np.array([1.0]), 0.7).tolist() == out_of_lungs(below, 0.7).tolist() == [1]
