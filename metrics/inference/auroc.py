"""The area under the ROC curve with an interval that holds for few images, several of one patient, and near 1."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import rankdata

from metrics.inference.differences import PairedDifference
from metrics.intervals import Estimate, wilson

# Patients with the label, and without it, below which there is no interval: benchmarks/coverage.py.
ENOUGH = 10


class _Area(NamedTuple):
    """AUROC, each patient's influence on it, and the patients of the rarer class."""

    value: float
    patients: np.ndarray
    rarer: int


def auroc_interval(truth: np.ndarray, score: np.ndarray, patients: np.ndarray) -> Estimate:
    r"""Return the AUROC with its 95 % interval over patients.

    The variance is DeLong's (Biometrics 1988) from his structural components summed by patient (Obuchowski, Biometrics
    1997). The interval is Wilson's of as many independent images as have that variance, with Student's quantile for the
    patients of the rarer class; where all positives are above all negatives (or below), of as many as these are.

    Args:
        truth: (N,) bool.
        score: (N,) higher for images that are more likely to have the label; ties count half.
        patients: (N,) their patients.

    Returns:
        Without an interval where fewer than ten patients have the label, or lack it; see :func:`lacking`.

    Example:
        >>> truth, patients = np.arange(40) < 20, np.arange(40)
        >>> value, low, high = auroc_interval(truth, -np.arange(40.0), patients)
        >>> value, round(low, 3), high
        (1.0, 0.82, 1.0)
    """
    ids, places = np.unique(patients, return_inverse=True)
    area = _area(truth, score, places, len(ids))
    if area is None:
        return Estimate(nan, nan, nan)
    if lacking(truth, patients):
        return Estimate(area.value, nan, nan)
    variance = _variance(area.patients)
    n = area.value * (1 - area.value) / variance if variance > 0 else float(area.rarer)
    n = min(max(n, 1.0), float(len(area.patients)))
    return Estimate(area.value, *wilson(area.value * n, n, quantile=_quantile(area.rarer)))


def auroc_difference(
    truths: tuple[np.ndarray, np.ndarray],
    scores: tuple[np.ndarray, np.ndarray],
    patients: tuple[np.ndarray, np.ndarray],
) -> PairedDifference:
    """Return the first AUROC minus the second, each of one training, of images of the same patients.

    Args:
        truths: (N,) and (M,) bool.
        scores: The same sizes.
        patients: The images' patients, by the same names.

    Example:
        >>> truth, rng = np.arange(100) < 30, np.random.default_rng(0)
        >>> good, patients = truth + rng.normal(size=100), np.arange(100)
        >>> auroc_difference((truth,) * 2, (good, rng.normal(size=100)), (patients,) * 2).low > 0
        True
    """
    ids = np.unique(np.concatenate(patients))
    places = [np.searchsorted(ids, names) for names in patients]
    areas = [_area(t, s, p, len(ids)) for t, s, p in zip(truths, scores, places, strict=True)]
    if areas[0] is None or areas[1] is None:
        return PairedDifference(nan, nan, nan, nan, 1, len(ids))
    few = [*filter(None, map(lacking, truths, patients))]
    first, second = areas[0], areas[1]
    value, error = first.value - second.value, _variance(first.patients - second.patients) ** 0.5
    if few or error == 0:
        return PairedDifference(value, nan, nan, nan, 1, len(ids), why=few[0] if few else "")

    # Student's interval, for the patients of the rarer class
    rarer = min(first.rarer, second.rarer)
    half, p = _quantile(rarer) * error, float(2 * stdtr(rarer - 1, -abs(value) / error))
    return PairedDifference(value, max(value - half, -1.0), min(value + half, 1.0), p, 1, len(ids))


def lacking(truth: np.ndarray, patients: np.ndarray) -> str:
    """Return how many patients there are where they are too few for an interval; empty: there are enough.

    Example:
        >>> lacking(np.array([True] + 30 * [False]), np.arange(31))
        '1 positive patient, at least 10 are needed'
        >>> lacking(np.array([True, True, False]), np.arange(3))
        '2 positive patients and 1 negative patient, at least 10 of each are needed'
    """
    numbers = {"positive": len(np.unique(patients[truth])), "negative": len(np.unique(patients[~truth]))}
    few = [f"{n} {name} patient{'s' if n != 1 else ''}" for name, n in numbers.items() if n < ENOUGH]
    return f"{' and '.join(few)}, at least {ENOUGH}{' of each' * (len(few) > 1)} are needed" if few else ""


def _area(truth: np.ndarray, score: np.ndarray, patients: np.ndarray, n_patients: int) -> _Area | None:
    """Return the AUROC and the patients' influences; None: a class has no image."""
    truth = np.asarray(truth, bool)
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    if not (n_positive and n_negative):
        return None

    # how many of the other class each image is rightly beyond, as a share
    ranks, components = rankdata(score), np.empty(len(score))
    components[truth] = (ranks[truth] - rankdata(score[truth])) / n_negative
    components[~truth] = 1 - (ranks[~truth] - rankdata(score[~truth])) / n_positive
    value = float(components[truth].mean())

    # summed by patient
    weights = np.where(truth, 1 / n_positive, 1 / n_negative)
    sums = np.bincount(patients, (components - value) * weights, n_patients)
    return _Area(value, sums, min(len(np.unique(patients[truth])), len(np.unique(patients[~truth]))))


def _variance(patients: np.ndarray) -> float:
    return float(patients @ patients) * len(patients) / max(len(patients) - 1, 1)


def _quantile(rarer: int) -> float:
    return float(stdtrit(rarer - 1, 0.975))
