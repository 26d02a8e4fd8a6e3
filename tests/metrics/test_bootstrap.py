from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import weighted
from metrics.bootstrap import PatientBootstrap
from metrics.intervals import wilson


def test_value_is_the_statistic_of_the_images_as_they_are():
    values = np.array([1.0, 2.0, 6.0])
    estimate = PatientBootstrap(["a", "b", "c"], 500).estimate(partial(weighted.mean, values=values))
    assert estimate.value == 3
    assert 1 <= estimate.low < 3 < estimate.high <= 6


def test_images_of_a_patient_are_drawn_together():
    # One patient with 50 equal images is worth one image: the interval is as wide as of two images.
    values = np.array([0.0] * 50 + [1.0] * 50)
    few = PatientBootstrap(["a"] * 50 + ["b"] * 50, 500).estimate(partial(weighted.mean, values=values))
    many = PatientBootstrap([str(i) for i in range(100)], 500).estimate(partial(weighted.mean, values=values))
    assert (few.low, few.high) == (0, 1)
    assert many.low > 0.35
    assert many.high < 0.65


def test_a_share_of_nothing_gets_wilson_over_the_patients_that_count():
    none = np.zeros(6)
    bootstrap = PatientBootstrap(["a", "a", "b", "c", "d", "e"], 200)
    estimate = bootstrap.estimate(partial(weighted.mean, values=none), share=1)
    assert estimate == pytest.approx((0, *wilson(0, 5)))
    counted = np.array([True, True, True, False, False, False])
    assert bootstrap.estimate(partial(weighted.mean, values=none), share=1, counted=counted).high == wilson(0, 2)[1]
    whole = bootstrap.estimate(lambda w: 100 * weighted.mean(w, np.ones(6)), share=100)
    assert whole == pytest.approx((100, 100 * wilson(5, 5)[0], 100))


def test_difference_is_paired():
    rng = np.random.default_rng(0)
    first = rng.random(40)
    bootstrap = PatientBootstrap([str(i) for i in range(40)], 500)
    values = [
        bootstrap.values(partial(weighted.mean, values=first + noise)) for noise in (0.5 + rng.random(40) / 100, 0)
    ]
    value, low, high = bootstrap.difference(*values)
    assert value == pytest.approx(0.505, abs=0.003)
    assert 0.49 < low < value < high < 0.52  # unpaired it would be a tenth wide to each side


def test_difference_of_two_zeros_is_as_unsure_as_both():
    bootstrap = PatientBootstrap([str(i) for i in range(20)], 100)
    zero = bootstrap.values(partial(weighted.mean, values=np.zeros(20)))
    high = wilson(0, 20)[1]
    assert bootstrap.difference(zero, zero, share=1) == pytest.approx((0, -high, high))
    half = bootstrap.values(partial(weighted.mean, values=np.arange(20) % 2.0))
    difference, own = bootstrap.difference(half, zero, share=1), bootstrap.interval(half, share=1)
    assert difference.low == pytest.approx(0.5 - np.hypot(0.5 - own.low, high))
    assert difference.high == pytest.approx(own.high)


def test_undefined_is_nan_and_resamples_without_it_are_left_out():
    bootstrap = PatientBootstrap(["a", "b"], 200)
    assert np.isnan(bootstrap.estimate(partial(weighted.mean, values=np.array([np.nan, np.nan])))).all()
    one_known = bootstrap.estimate(partial(weighted.mean, values=np.array([2.0, np.nan])))
    assert one_known == pytest.approx((2, np.nan, np.nan), nan_ok=True)  # resamples that agree say nothing


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 99))
def test_every_resample_holds_as_many_patients(patients, seed):
    names = np.array(patients).astype(str)
    bootstrap = PatientBootstrap(names, 50, seed)
    share = np.array([1 / np.sum(names == name) for name in names])  # sums to one for each patient
    assert bootstrap.values(lambda w: w @ share) == pytest.approx(np.full(51, len(set(patients))))
