from math import nan

import numpy as np
import pytest

from metrics.paired import decide, flips, holm, out_of_lungs


def test_p_values_are_adjusted_for_their_number():
    # statsmodels' multipletests(p, method="holm") gives these
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([nan, 0.01, 0.03])[1:] == pytest.approx([0.02, 0.03])
    assert np.isnan(holm([nan, 0.01])[0])
    assert holm([0.7, 0.6]) == [1, 1]  # none exceeds 1


def test_decisions_and_saliency_out_of_the_lungs_in_the_networks_precision():
    """The float32 next to 0.7 is smaller, that next to 0.1 larger; a table on disk has either as its decimal."""
    for edge in (0.1, 0.7):
        for written in (np.float32(edge), float(np.float32(edge)), edge):
            assert decide(np.array([written]), edge).tolist() == [1]
            assert out_of_lungs(np.array([written]), edge).tolist() == [0]
    below = np.array([np.nextafter(np.float32(0.7), np.float32(0))])
    assert decide(below, 0.7).tolist() == [0]
    assert out_of_lungs(below, 0.7).tolist() == [1]


def test_the_answers_are_floats_whatever_a_table_holds():
    """A column with blanks has Python objects; answers that are no floats would be written in another way."""
    column = np.array([1, 0, None], dtype=object)
    for answer in (decide(column, 0.5), flips(column, column), out_of_lungs(column, 0.4)):
        assert answer.dtype == np.float64
        assert np.isnan(answer).tolist() == [False, False, True]
    assert flips(column, np.array([True, True, True])).tolist()[:2] == [0, 1]


def test_what_has_no_decision_does_not_flip():
    assert flips(np.array([1, 0, nan]), np.array([0, 0, 1])).tolist()[:2] == [1, 0]
    assert np.isnan(flips(np.array([1, nan]), np.array([nan, nan]))).all()
