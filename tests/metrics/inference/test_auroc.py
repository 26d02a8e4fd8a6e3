"""AUROC: its value, its interval, and when there is none."""

import numpy as np
import pytest
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
