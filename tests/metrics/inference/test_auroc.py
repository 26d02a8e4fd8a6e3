"""AUROC: its value, its interval, and when there is none."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from metrics.inference.auroc import auroc_difference, auroc_interval, lacking
from tests.helpers.coverage import simulations


def test_the_value_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, score = rng.random(60) < 0.4, rng.integers(0, 6, 60) / 5  # many ties
        assert auroc_interval(truth, score, np.arange(60)).value == pytest.approx(roc_auc_score(truth, score))


def test_delongs_variance_by_hand():
    """Without ties and with one image a patient: the variances of both classes' components over their numbers."""
    truth = np.arange(40) % 2 == 0
    score = np.sin(np.arange(40.0)) + truth
    above = (score[truth][:, None] > score[~truth]).astype(float)
    parts = above.mean(axis=1).var() / 20 + above.mean(axis=0).var() / 20
    row = auroc_difference((truth, truth), (score, np.cos(np.arange(40.0) ** 2)), (np.arange(40),) * 2)
    value, low, high = auroc_interval(truth, score, np.arange(40))
    n = value * (1 - value) / (parts * 40 / 39)
    middle = (value * n + 2.093**2 / 2) / (n + 2.093**2)  # t(19)
    assert (low + high) / 2 == pytest.approx(middle, abs=1e-3)
    assert row.low < row.value < row.high


def test_one_positive_is_not_enough():
    truth = np.arange(50) == 3
    value, low, high = auroc_interval(truth, np.linspace(0, 1, 50), np.arange(50))
    assert value == pytest.approx(3 / 49)
    assert np.isnan([low, high]).all()
    assert lacking(truth, np.arange(50)) == "1 positive patient, at least 10 are needed"
    assert lacking(np.ones(50, bool), np.arange(50)) == "0 negative patients, at least 10 are needed"
    both = lacking(np.arange(50) < 20, np.repeat(np.arange(25), 2) // 3)
    assert both == "4 positive patients and 6 negative patients, at least 10 of each are needed"
    row = auroc_difference((truth,) * 2, (np.linspace(0, 1, 50), np.sin(np.arange(50.0))), (np.arange(50),) * 2)
    assert (row.verdict, row.reason) == ("unknown", "1 positive patient, at least 10 are needed")
    assert np.isnan([row.low, row.high, row.p]).all()
    assert np.isnan(auroc_interval(np.ones(50, bool), np.zeros(50), np.arange(50))).all()


def test_a_difference_by_hand():
    """Two orders of 40 images, one a patient: the variance of the patients' differences, and t(19)."""
    truth, patients = np.arange(40) % 2 == 0, np.arange(40)
    scores = np.sin(np.arange(40.0)) + truth, np.cos(np.arange(40.0) ** 2)
    influence = []
    for score in scores:
        above = (score[truth][:, None] > score[~truth]).astype(float)
        both = np.empty(40)
        both[truth], both[~truth] = above.mean(axis=1) - above.mean(), above.mean(axis=0) - above.mean()
        influence.append(both / 20)
    error = np.sqrt(((influence[0] - influence[1]) ** 2).sum() * 40 / 39)
    row = auroc_difference((truth, truth), scores, (patients, patients))
    assert row.value == pytest.approx(roc_auc_score(truth, scores[0]) - roc_auc_score(truth, scores[1]))
    assert (row.low, row.high) == pytest.approx((row.value - 2.09302 * error, row.value + 2.09302 * error), abs=1e-5)
    assert row.p == pytest.approx(2 * t(19).sf(row.value / error))
    assert (row.seeds, row.patients, row.why) == (1, 40, "")
    back = auroc_difference((truth, truth), scores[::-1], (patients, patients))
    assert (back.value, back.low, back.high, back.p) == pytest.approx((-row.value, -row.high, -row.low, row.p))


def test_a_difference_stays_on_its_scale():
    """A perfect order against one that is wrong but for some: its interval ends at 1 and at -1."""
    truth, patients = np.arange(24) < 12, np.arange(24)
    perfect = truth.astype(float)
    wrong = np.where(np.arange(24) % 12 < 2, perfect, -perfect) + np.arange(24) / 100
    row = auroc_difference((truth, truth), (perfect, wrong), (patients, patients))
    assert row.low < row.value < row.high == 1
    back = auroc_difference((truth, truth), (wrong, perfect), (patients, patients))
    assert back.low == -1


def test_a_difference_without_an_interval_says_what_there_is_not_enough_of():
    truth, patients = np.arange(40) < 20, np.arange(40)
    score = np.sin(np.arange(40.0))
    nothing = auroc_difference((truth, np.zeros(40, bool)), (score, score), (patients, patients))
    assert astuple(nothing) == pytest.approx((*[np.nan] * 4, 1, 40, "", ""), nan_ok=True)
    same = auroc_difference((truth, truth), (score, score), (patients, patients))
    assert astuple(same) == pytest.approx((0, *[np.nan] * 3, 1, 40, "", ""), nan_ok=True)
    few = np.arange(40) < 9
    why = "9 positive patients, at least 10 are needed"
    for truths in ((truth, few), (few, truth)):
        row = auroc_difference(truths, (score, np.cos(score)), (patients, patients))
        assert astuple(row)[1:] == pytest.approx((*[np.nan] * 3, 1, 40, why, ""), nan_ok=True)


def test_images_of_one_patient_move_together():
    """Each patient five times: the value is the same, and the interval no narrower."""
    truth, score = np.arange(40) % 2 == 0, np.sin(np.arange(40.0))
    once = auroc_interval(truth, score, np.arange(40))
    five = auroc_interval(truth.repeat(5), score.repeat(5), np.arange(40).repeat(5))
    assert five == pytest.approx(once)
    other = np.cos(np.arange(40.0))
    alone = auroc_difference((truth, truth), (score, other), (np.arange(40),) * 2)
    copied = auroc_difference(
        (truth.repeat(5),) * 2, (score.repeat(5), other.repeat(5)), (np.arange(40).repeat(5),) * 2
    )
    assert (copied.low, copied.high, copied.p) == pytest.approx((alone.low, alone.high, alone.p))


def test_ten_patients_of_each_are_enough():
    truth = np.arange(20) < 10
    assert lacking(truth, np.arange(20)) == ""
    assert np.isfinite(auroc_interval(truth, np.sin(np.arange(20.0)), np.arange(20))).all()
    assert lacking(np.arange(20) < 9, np.arange(20)) == "9 positive patients, at least 10 are needed"


def test_a_perfect_order_is_no_certainty():
    truth = np.arange(60) < 15
    assert auroc_interval(truth, truth.astype(float), np.arange(60))[::2] == pytest.approx((1.0, 1.0))
    assert 0.7 < auroc_interval(truth, truth.astype(float), np.arange(60)).low < 0.85


def test_the_interval_holds_for_few_positives():
    draw = simulations()._probability_draw(np.arange(150), 0.15, 2.0, "AUROC")
    coverage, missing, narrowest = simulations()._coverage(draw, 0.9214, 0, 400)
    assert coverage >= 0.92
    assert missing < 0.05
    assert narrowest > 0.03
