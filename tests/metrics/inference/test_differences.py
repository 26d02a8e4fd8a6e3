"""Differences on the same pairs: what they say, and how often they are right."""

import numpy as np
import pytest

from metrics.inference.differences import paired_difference, verdict
from metrics.intervals import wilson
from tests.helpers.coverage import simulations


def test_nothing_that_varies_is_no_certainty():
    none = np.zeros((3, 50))
    row = paired_difference(none, none, np.arange(50))
    assert (row.value, row.p, row.verdict) == (0, 1, "not shown")
    assert (row.low, row.high) == pytest.approx((-wilson(0, 50)[1], wilson(0, 50)[1]))


def test_the_scale_is_never_left_and_the_interval_goes_with_the_p_value():
    rng = np.random.default_rng(0)
    for _ in range(200):
        seeds, patients = rng.integers(1, 4), np.repeat(np.arange(6), 2)
        first, second = (rng.random((seeds, 12)) < rng.random() for _ in range(2))
        row = paired_difference(first.astype(float), second.astype(float), patients)
        assert -1 <= row.low < row.high <= 1
        assert (row.p < 0.05) == (not row.low <= 0 <= row.high)
        assert row.verdict == "unknown"  # of six patients nothing is said


def test_images_of_a_patient_are_not_counted_as_patients():
    first = (np.arange(40) % 4 == 0).astype(float)[None]
    alone = paired_difference(first, 0 * first, np.arange(40))
    copied = paired_difference(first.repeat(5, axis=1), 0 * first.repeat(5, axis=1), np.arange(40).repeat(5))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))


def test_what_is_undefined_is_unknown():
    row = paired_difference(np.full((1, 30), np.nan), np.zeros((1, 30)), np.arange(30))
    assert np.isnan([row.value, row.low, row.p]).all()
    assert row.verdict == "unknown"
    assert row.reason


@pytest.mark.parametrize(
    ("p", "seeds", "patients", "said"),
    [
        (0.001, 1, 1000, "these trainings only"),
        (0.001, 2, 1000, "likely"),
        (0.001, 3, 1000, "clear"),
        (0.02, 3, 1000, "likely"),
        (0.05, 3, 1000, "not shown"),
        (0.001, 3, 50, "clear"),
        (0.001, 3, 49, "likely"),
        (0.001, 3, 19, "unknown"),
        (float("nan"), 3, 1000, "unknown"),
    ],
)
def test_verdicts(p, seeds, patients, said):
    assert verdict(p, seeds, patients) == said


def test_one_seed_each_is_never_clear_and_three_seeds_are_nominal():
    """Two equal configurations whose trainings vary (0.3 in log PI) were clear in a fifth to two fifths with one seed.

    With three seeds and no spread the interval missed zero in 0 of 120: patients' noise was in it twice.
    """
    run = simulations().compare_configurations
    assert run(0, 60, 300, 1, 1, 0.3)["false_clear"] == 0
    three = run(0, 400, 100, 1, 3, 0.0)
    assert 0.93 <= three["coverage"] <= 0.985  # 400 simulations: within three standard errors of 93 to 97 %
    assert three["false_clear"] <= 0.03
    varying = run(0, 400, 100, 1, 3, 0.3)
    assert 0.915 <= varying["coverage"] <= 0.985
    assert varying["false_clear"] <= 0.03


def test_a_difference_is_found_where_it_was_not():
    """7 against 4.2 % on 600 pairs of 300 patients with three seeds: more than two in five times."""
    assert simulations().compare_configurations(0, 150, 300, 2, 3, 0.0)["power"] > 0.5


def test_patients_who_do_not_count_make_nothing_surer():
    """Of 40 patients twelve count: Wilson's for none of twelve, and too few to say anything."""
    none = np.full((1, 40), np.nan)
    none[0, :12] = 0
    row = paired_difference(none, none, np.arange(40))
    assert (row.low, row.high) == pytest.approx((-wilson(0, 12)[1], wilson(0, 12)[1]))
    assert (row.patients, row.verdict) == (12, "unknown")
