from dataclasses import astuple
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import weighted
from metrics.bootstrap import PatientBootstrap
from metrics.inference.differences import PairedDifference
from metrics.intervals import t_interval


def test_value_is_the_statistic_of_the_images_as_they_are():
    values = np.array([1.0, 2.0, 6.0])
    estimate = PatientBootstrap(["a", "b", "c"], 500).estimate(partial(weighted.mean, values=values))
    assert estimate.value == 3
    assert estimate.low < 3 < estimate.high


def test_a_mean_has_students_interval():
    values = np.random.default_rng(0).random(30)
    estimate = PatientBootstrap([str(i) for i in range(30)], 20_000).estimate(partial(weighted.mean, values=values))
    assert estimate[1:] == pytest.approx(t_interval(values.tolist()), abs=0.003)


def test_images_of_a_patient_are_drawn_together():
    """A patient with five equal images is worth one."""
    values, names = np.arange(20) % 2.0, [str(i) for i in range(20)]
    alone = PatientBootstrap(names, 5000).estimate(partial(weighted.mean, values=values))
    copied = PatientBootstrap(np.repeat(names, 5), 5000).estimate(partial(weighted.mean, values=values.repeat(5)))
    assert copied[1:] == pytest.approx(alone[1:], abs=0.02)


def test_the_scale_is_never_left():
    bootstrap = PatientBootstrap(list("abcd"), 500)
    value, low, high = bootstrap.estimate(partial(weighted.mean, values=np.array([1.0, 1, 1, 0.6])), whole=1.0)
    assert 0 < low < value < high < 1


def test_difference_is_paired():
    rng = np.random.default_rng(0)
    first = rng.random(40)
    bootstrap = PatientBootstrap([str(i) for i in range(40)], 500)
    values = [
        bootstrap.values(partial(weighted.mean, values=first + noise)) for noise in (0.5 + rng.random(40) / 100, 0)
    ]
    row = bootstrap.difference(*values)
    assert row.value == pytest.approx(0.505, abs=0.003)
    assert 0.49 < row.low < row.value < row.high < 0.52  # unpaired it would be a tenth wide to each side
    assert row.verdict == "these trainings only"


def test_a_difference_by_hand():
    """Resamples of +-1 about 3 have a standard deviation of sqrt(4 / 3); four patients make it sqrt(4 / 3) wider."""
    bootstrap = PatientBootstrap(list("abcd"), 4)
    first, second = np.array([3.0, 4, 2, 4, 2]), np.zeros(5)
    row = bootstrap.difference(first, second)
    assert (row.low, row.high) == pytest.approx((3 - 3.18245 * 4 / 3, 3 + 3.18245 * 4 / 3), abs=1e-4)  # t(3)
    assert row.p == pytest.approx(0.10994, abs=1e-4)  # of t = 9 / 4
    assert (row.value, row.seeds, row.patients) == (3, 1, 4)
    two = bootstrap.difference(first, second, patients=2)
    assert two.high == pytest.approx(3 + 12.7062 * 4 / 3, abs=1e-3)  # t(1)
    assert two.patients == 2
    assert bootstrap.interval(first)[1:] == pytest.approx((row.low, row.high))


def test_a_difference_that_cannot_be_told_is_said_without_an_interval():
    bootstrap = PatientBootstrap(list("abcd"), 4)
    row = bootstrap.difference(np.full(5, 2.0), np.array([1.0] * 5))
    expected = PairedDifference(1.0, np.nan, np.nan, np.nan, seeds=1, patients=4)
    assert astuple(row) == pytest.approx(astuple(expected), nan_ok=True)  # no resample differs
    few = bootstrap.difference(np.array([3.0, 4, 2, 4, 2]), np.zeros(5), patients=1)
    assert astuple(few) == pytest.approx((3, np.nan, np.nan, np.nan, 1, 1, "", ""), nan_ok=True)


def test_a_difference_whose_other_side_is_constant_has_the_firsts_interval():
    values = np.array([3.0, 4, 2, 4, 2])
    bootstrap = PatientBootstrap(list("abcd"), 4)
    assert bootstrap.difference(values, np.full(5, 7.0)).value == -4
    assert bootstrap.difference(values, np.full(5, 7.0)).low == pytest.approx(bootstrap.interval(values).low - 7)


def test_two_resamples_tell_an_interval_and_one_does_not():
    bootstrap = PatientBootstrap(list("abcd"), 3)
    assert np.isfinite(bootstrap.interval(np.array([1.0, 2, np.nan, 0]))).all()
    assert np.isnan(bootstrap.interval(np.array([1.0, 2, np.nan, np.nan]))[1:]).all()
    assert np.isnan(PatientBootstrap(["a", "a"], 3).interval(np.array([1.0, 2, 0, 1]))[1:]).all()  # of one patient
    assert np.isfinite(PatientBootstrap(["a", "b"], 3).interval(np.array([1.0, 2, 0, 1]))).all()


def test_resamples_that_differ_by_rounding_agree():
    values = np.array([0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2])
    assert values.max() > values.min()
    assert np.isnan(PatientBootstrap(list("abc"), 3).interval(values)[1:]).all()


def test_many_images_are_resampled_in_several_chunks(monkeypatch):
    """Four resamples of three images a chunk, then three, then what is left: as all at once."""
    names = ["a", "a", "b"]
    whole = PatientBootstrap(names, 10).values(lambda weights: weights @ np.array([1.0, 2, 4]))
    sizes = []

    def statistic(weights):
        sizes.append(len(weights))
        return weights @ np.array([1.0, 2, 4])

    monkeypatch.setattr("metrics.bootstrap._CHUNK", 12)
    np.testing.assert_array_equal(PatientBootstrap(names, 10).values(statistic), whole)
    assert sizes == [1, 4, 4, 2]
    sizes.clear()
    monkeypatch.setattr("metrics.bootstrap._CHUNK", 2)  # less than one resample: one at a time
    np.testing.assert_array_equal(PatientBootstrap(names, 10).values(statistic), whole)
    assert sizes == [1] * 11


def test_the_draws_are_two_thousand_of_seed_0_unless_told():
    first, again = PatientBootstrap(list("abcdef")), PatientBootstrap(list("abcdef"), 2000, 0)
    statistic = partial(weighted.mean, values=np.arange(6.0))
    assert len(first.values(statistic)) == 2001
    np.testing.assert_array_equal(first.values(statistic), again.values(statistic))
    assert (first.values(statistic) != PatientBootstrap(list("abcdef"), seed=1).values(statistic)).any()
    assert first.patient_of_image.tolist() == list(range(6))
    assert (first.n_images, first.n_patients, first.resamples) == (6, 6, 2000)


def test_undefined_is_nan_and_resamples_without_it_are_left_out():
    bootstrap = PatientBootstrap(["a", "b"], 200)
    assert np.isnan(bootstrap.estimate(partial(weighted.mean, values=np.array([np.nan, np.nan])))).all()
    one_known = bootstrap.estimate(partial(weighted.mean, values=np.array([2.0, np.nan])))
    assert one_known == pytest.approx((2, np.nan, np.nan), nan_ok=True)  # resamples that agree say nothing
    zero = bootstrap.values(partial(weighted.mean, values=np.zeros(2)))
    assert np.isnan(bootstrap.difference(zero, zero).p)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 99))
def test_every_resample_holds_as_many_patients(patients, seed):
    names = np.array(patients).astype(str)
    bootstrap = PatientBootstrap(names, 50, seed)
    share = np.array([1 / np.sum(names == name) for name in names])  # sums to one for each patient
    assert bootstrap.values(lambda w: w @ share) == pytest.approx(np.full(51, len(set(patients))))
