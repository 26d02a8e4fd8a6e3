from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import weighted
from metrics.bootstrap import PatientBootstrap
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
