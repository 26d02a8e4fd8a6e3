"""Scores of weighted images, many weightings at once: what a bootstrap resamples.

Every function takes ``weights``, (R, N) float >= 0 (row r: how often resample r holds each of N images), and returns
(R,) float values, NaN where a resample does not define the score. With weights of one they are the usual scores.

    >>> once, first_twice = [1.0, 1.0, 1.0], [2.0, 1.0, 0.0]
    >>> mean(np.array([once, first_twice]), np.array([3.0, 6.0, 9.0]))
    array([6., 4.])
"""

from __future__ import annotations

import numpy as np


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean of (N,) values; NaN is left out."""
    is_known = ~np.isnan(values)
    return _ratio(weights @ np.where(is_known, values, 0.0), weights @ is_known.astype(float))


def confusion(weights: np.ndarray, truth: np.ndarray, positive: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of (N,) bool decisions ``positive`` against the (N,) bool ``truth``, each in [0, 1].

    ``accuracy = (TP + TN) / N``, ``sensitivity = TP / (TP + FN)``, ``specificity = TN / (TN + FP)``,
    ``ppv = TP / (TP + FP)``, ``npv = TN / (TN + FN)``, ``f1 = 2 TP / (2 TP + FP + FN)``
    (paper 002, Eqs. 6.13 to 6.16).

    Example:
        >>> truth, positive = np.array([True, True, False, False]), np.array([True, False, False, False])
        >>> scores = confusion(np.ones((1, 4)), truth, positive)
        >>> scores["accuracy"], scores["sensitivity"], scores["ppv"]
        (array([0.75]), array([0.5]), array([1.]))
    """
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
    """Return the area under the ROC curve of (N,) scores against the (N,) bool truth; ties count half.

    The share of pairs of a positive and a negative image in which the positive one scores higher.

    Example:
        >>> auroc(np.ones((1, 4)), np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.7]))
        array([0.625])
    """
    positive, negative = _weights_by_score(weights, truth, score)
    above = np.cumsum(positive, axis=1) - positive / 2  # weight of positives scored higher, those of equal score half
    return _ratio((above * negative).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def average_precision(weights: np.ndarray, truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the area under the precision-recall curve as a sum of steps (scikit-learn's definition).

    The mean over the positive images of the precision at their score.

    Example:
        >>> average_precision(np.ones((1, 4)), np.array([True, False, False, True]), np.array([0.9, 0.8, 0.7, 0.6]))
        array([0.75])
    """
    positive, negative = _weights_by_score(weights, truth, score)
    true_positives = np.cumsum(positive, axis=1)
    precision = _ratio(true_positives, true_positives + np.cumsum(negative, axis=1))
    return _ratio((np.nan_to_num(precision) * positive).sum(axis=1), positive.sum(axis=1))


def _weights_by_score(weights: np.ndarray, truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the positives and of the negatives at every distinct score, highest first: (R, number of scores)."""
    _require_finite(score)
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))
    sorted_weights, sorted_truth = weights[:, order], truth[order].astype(float)
    return (
        np.add.reduceat(sorted_weights * sorted_truth, starts, axis=1),
        np.add.reduceat(sorted_weights * (1 - sorted_truth), starts, axis=1),
    )


def _require_finite(score: np.ndarray) -> None:
    """Refuse to rank what is no number: it would get the rank of its place in the file."""
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite: NaN and infinity cannot be ranked")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
