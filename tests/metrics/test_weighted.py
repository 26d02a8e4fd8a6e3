import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from metrics import weighted

ONES = np.ones((1, 4))


def test_mean_leaves_nan_out():
    values = np.array([1.0, np.nan, 3.0, 0.0])
    weights = np.array([[1, 1, 1, 1], [2, 5, 0, 1], [0, 1, 0, 0]], float)
    assert weighted.mean(weights, values)[:2] == pytest.approx([4 / 3, 2 / 3])
    assert np.isnan(weighted.mean(weights, values)[2])


def test_weights_may_add_up_to_less_than_one():
    assert weighted.mean(np.array([[0.25, 0.25]]), np.array([1.0, 3.0])) == pytest.approx([2])


def test_confusion_by_hand():
    # truth 1 1 0 0, decided 1 0 1 0 -> one each of TP, FN, FP, TN; the second weighting holds the TP three times.
    truth, positive = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    scores = weighted.confusion(np.array([[1, 1, 1, 1], [3, 1, 1, 1]], float), truth, positive)
    assert scores["accuracy"] == pytest.approx([0.5, 4 / 6])
    assert scores["sensitivity"] == pytest.approx([0.5, 0.75])
    assert scores["specificity"] == pytest.approx([0.5, 0.5])
    assert scores["ppv"] == pytest.approx([0.5, 0.75])
    assert scores["npv"] == pytest.approx([0.5, 0.5])
    assert scores["f1"] == pytest.approx([0.5, 0.75])


def test_auroc_counts_ties_half():
    truth, score = np.array([1, 0, 1, 0], bool), np.array([0.9, 0.9, 0.4, 0.1])
    assert weighted.auroc(ONES, truth, score) == pytest.approx([(0.5 + 1 + 0 + 1) / 4])


def test_undefined_without_both_classes():
    score = np.array([0.1, 0.2, 0.3, 0.4])
    assert np.isnan(weighted.auroc(ONES, np.ones(4, bool), score)).all()
    assert np.isnan(weighted.average_precision(ONES, np.zeros(4, bool), score)).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**31))
def test_as_scikit_learn_with_weights(n, seed):
    rng = np.random.default_rng(seed)
    truth = np.append(rng.random(n) < 0.5, [True, False])
    score = rng.integers(0, 6, n + 2) / 5  # many ties
    weights = rng.integers(0, 4, (3, n + 2)).astype(float)
    weights[:, -2:] += 1
    for row, auroc, ap in zip(
        weights,
        weighted.auroc(weights, truth, score),
        weighted.average_precision(weights, truth, score),
        strict=True,
    ):
        assert auroc == pytest.approx(sklearn_metrics.roc_auc_score(truth, score, sample_weight=row))
        assert ap == pytest.approx(sklearn_metrics.average_precision_score(truth, score, sample_weight=row))


@pytest.mark.parametrize("score", [weighted.auroc, weighted.average_precision])
def test_what_is_no_number_cannot_be_ranked(score):
    with pytest.raises(ValueError, match="scores must be finite"):
        score(np.ones((1, 2)), np.array([True, False]), np.array([np.nan, 0.5]))
