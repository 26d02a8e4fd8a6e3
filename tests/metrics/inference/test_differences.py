"""Differences on the same pairs: what they say, and how often they are right."""

import numpy as np
import pytest

from metrics.inference.differences import PairedDifference, paired_difference, require_exact, verdict
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


def changed(up: int, down: int, n: int = 47) -> tuple[np.ndarray, np.ndarray]:
    """Two trainings: the second has an event in ``up`` images where the first has none, and none in ``down``."""
    first, second = np.zeros((1, n)), np.zeros((1, n))
    second[0, :up] = first[0, up : up + down] = 1
    return first, second


@pytest.mark.parametrize(
    ("up", "down", "p", "said"),
    [
        (0, 5, 0.0625, "not shown"),  # by Student's t 0.025
        (0, 6, 0.03125, "these trainings only"),
        (10, 2, 158 / 4096, "these trainings only"),  # 2 (1 + 12 + 66) / 2^12
        (1, 7, 18 / 256, "not shown"),
    ],
)
def test_a_difference_on_few_patients_needs_an_exact_test(up, down, p, said):
    row = paired_difference(*changed(up, down), np.arange(47), scale=100)
    assert row.value == pytest.approx(100 * (up - down) / 47)
    assert row.p == pytest.approx(p)
    assert row.verdict == said
    assert (row.p < 0.05) == (not row.low <= 0 <= row.high)


def test_what_withholds_a_difference_is_said_and_the_interval_reaches_beyond_zero():
    """0 against 5 of 47: 2.5 % of the share of five, 0.025^(1/5) = 0.478, so (1 - 2 * 0.478) * 5 / 47 = 0.46 points."""
    first, second = changed(0, 5)
    row = paired_difference(first, second, np.arange(47), scale=100)
    assert row.high == pytest.approx(100 * (1 - 2 * 0.025 ** (1 / 5)) * 5 / 47)
    assert row.few == "on 5 patients they disagree, 5 against 0: too few to tell two trainings apart"
    other = paired_difference(second, first, np.arange(47), scale=100)
    assert (other.low, other.p) == pytest.approx((-row.high, row.p))
    assert paired_difference(*changed(0, 3), np.arange(47)).few == ""  # its interval has zero in it anyway


def test_ten_images_of_three_patients_are_three_disagreements():
    """Five pairs of each of two patients, one of a third: McNemar's test over pairs would find them, at 0.001."""
    patients = np.repeat(np.arange(40), 5)
    first, second = np.zeros((1, 200)), np.zeros((1, 200))
    first[0, :11] = 1
    row = paired_difference(first, second, patients)
    assert row.p >= 0.25
    assert row.verdict == "not shown"


def test_of_several_trainings_fewer_than_six_patients_never_suffice():
    first, second = (rows.repeat(3, axis=0) for rows in changed(0, 5, 60))
    assert paired_difference(first, second, np.arange(60)).verdict == "not shown"
    first, second = (rows.repeat(3, axis=0) for rows in changed(0, 12, 60))
    assert paired_difference(first, second, np.arange(60)).verdict == "clear"


def test_shares_of_other_images_need_six_patients_too():
    """One of five images does not count in the second network, so that signs tell nothing exact: at best 2^-4."""
    first, second = changed(0, 5)
    second[0, 0] = np.nan
    row = paired_difference(first, second, np.arange(47))
    assert (row.p, row.verdict) == (pytest.approx(0.0625), "not shown")
    assert row.few == "on 5 patients they disagree: too few to tell two trainings apart"
    first, second = changed(0, 8)
    second[0, 0] = np.nan
    assert paired_difference(first, second, np.arange(47)).verdict == "these trainings only"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (PairedDifference(1.0, 0.5, 1.5, 0.01, seeds=3, patients=200), ""),
        (PairedDifference(1.0, 0.5, 1.5, 0.01, seeds=3, patients=1), "1 patient, at least 20 are needed"),
        (PairedDifference(1.0, 0.5, 1.5, 0.01, seeds=3, patients=19), "19 patients, at least 20 are needed"),
        (PairedDifference(1.0, 0.5, 1.5, 0.01, seeds=3, patients=5, why="too few films"), "too few films"),
        (
            PairedDifference(1.0, float("nan"), float("nan"), float("nan"), seeds=3, patients=20),
            "the images do not tell how far it may be off",
        ),
    ],
)
def test_reasons(row, reason):
    assert row.reason == reason


@pytest.mark.parametrize("p", [0.005, 0.0049])
def test_what_is_clear_is_below_one_in_two_hundred(p):
    assert verdict(p, seeds=3, patients=200) == ("clear" if p < 0.005 else "likely")
    assert verdict(p, seeds=3, patients=20) == "likely"


def test_a_single_patient_has_no_interval():
    row = paired_difference(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), np.zeros(2, int), scale=100)
    assert row.value == 50
    assert np.isnan([row.low, row.high, row.p]).all()
    assert (row.seeds, row.patients, row.few) == (1, 1, "")


def test_two_patients_have_an_interval_that_leaves_nothing_out():
    row = paired_difference(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), np.arange(2))
    assert (row.value, row.low, row.high, row.p) == (0.5, -1, 1, 1)


def test_seeds_and_patients_are_those_of_the_side_that_has_fewer():
    first, second = np.zeros((3, 30)), np.zeros((2, 30))
    second[:, :9] = 1
    first[:, 25:] = np.nan
    for row in (paired_difference(first, second, np.arange(30)), paired_difference(second, first, np.arange(30))):
        assert (row.seeds, row.patients) == (2, 25)


def test_few_who_disagree_count_as_four():
    """One of 400 patients: four times the variance, so twice the width of that of a mean of one event."""
    first, second = changed(1, 0, 400)
    row = paired_difference(first, second, np.arange(400))
    assert row.high - row.value == pytest.approx(2 * 1.96593 / 400, rel=1e-3)  # t(399), and a deviation of 1 / 20
    four = paired_difference(*changed(4, 0, 400), np.arange(400))
    assert four.high - four.value == pytest.approx(1.96593 * (4 / 400 * 396 / 400 / 399) ** 0.5, rel=1e-3)


def test_what_is_too_few_is_said_of_trainings_and_of_configurations():
    first, second = (rows.repeat(3, axis=0) for rows in changed(0, 5, 60))
    few = paired_difference(first, second, np.arange(60)).few
    assert few == "on 5 patients they disagree: too few to tell the two apart"


def test_a_patient_who_counts_in_one_of_the_two_alone_is_one_on_whom_they_disagree():
    """One of 400 counts as four, as above; three more of whom the second says nothing make four in truth."""
    first, second = changed(1, 0, 400)
    few = paired_difference(first, second, np.arange(400))
    second[0, 100:103] = np.nan
    four = paired_difference(first, second, np.arange(400))
    assert four.high - four.value == pytest.approx((few.high - few.value) / 2, rel=0.02)


def test_where_all_patients_change_alike_nothing_tells_how_far_others_would():
    """No image of thirty is answered alike: the patients do not vary, so the interval reaches from all to none."""
    row = paired_difference(np.zeros((1, 30)), np.ones((1, 30)), np.arange(30))
    assert (row.value, row.low, row.high, row.p) == (1, 0, 1, 1)


def test_a_whole_difference_is_held_to_the_exact_test_too():
    found = PairedDifference(1.0, 0.9, 1.0, p=0.001, seeds=1, patients=5)
    row = require_exact(found, np.zeros((1, 5)), np.ones((1, 5)), np.arange(5))
    assert (row.p, row.verdict) == (0.0625, "unknown")
    assert row.low <= 0
