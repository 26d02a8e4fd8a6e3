"""Scores of weighted images, many weightings at once: what a bootstrap resamples.

Every function takes W, (R, N) weights >= 0 (row r: how often resample r holds each image), and gives (R,) values, NaN
where a resample does not define the score. With weights of one they are the usual scores.
"""

from __future__ import annotations

import numpy as np


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of (N,) values; NaN counts nothing."""
    known = ~np.isnan(values)
    return _ratio(weights @ np.where(known, values, 0.0), weights @ known.astype(float))


def confusion(weights: np.ndarray, truth: np.ndarray, positive: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, sensitivity, specificity, ppv, npv and f1 of (N,) bool decisions."""
    truth, positive = truth.astype(float), positive.astype(float)
    tp, t, p, n = weights @ (truth * positive), weights @ truth, weights @ positive, weights.sum(axis=1)
    tn = n - t - p + tp
    return {
        "accuracy": _ratio(tp + tn, n),
        "sensitivity": _ratio(tp, t),
        "specificity": _ratio(tn, n - t),
        "ppv": _ratio(tp, p),
        "npv": _ratio(tn, n - p),
        "f1": _ratio(2 * tp, t + p),
    }


def auroc(weights: np.ndarray, truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of (N,) scores; ties count half."""
    positive, negative = _by_score(weights, truth, score)
    above = np.cumsum(positive, axis=1) - positive / 2  # weight of positives scored higher, those of equal score half
    return _ratio((above * negative).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def average_precision(weights: np.ndarray, truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve as a sum of steps (scikit-learn's definition)."""
    positive, negative = _by_score(weights, truth, score)
    found = np.cumsum(positive, axis=1)
    precision = _ratio(found, found + np.cumsum(negative, axis=1))
    return _ratio((np.nan_to_num(precision) * positive).sum(axis=1), positive.sum(axis=1))


def calibration_error(weights: np.ndarray, truth: np.ndarray, probability: np.ndarray, bins: int = 15) -> np.ndarray:
    """Expected calibration error of (N,) probabilities, equal-width bins (Guo et al., ICML 2017)."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    member = (index[:, None] == np.arange(bins)).astype(float)
    gap = weights @ (member * (truth.astype(float) - probability)[:, None])  # per bin: weight x (observed - promised)
    return _ratio(np.abs(gap).sum(axis=1), weights.sum(axis=1))


def _by_score(weights: np.ndarray, truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the positives and of the negatives at every distinct score, highest first: (R, number of scores)."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))
    sorted_weights, sorted_truth = weights[:, order], truth[order].astype(float)
    return (
        np.add.reduceat(sorted_weights * sorted_truth, starts, axis=1),
        np.add.reduceat(sorted_weights * (1 - sorted_truth), starts, axis=1),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
