"""The calibration slope: are probabilities too extreme?

The expected calibration error (Guo et al., ICML 2017) is not reported: it is a mean of absolute gaps, which chance
alone makes larger than zero, so that a resampled interval of it lies above the truth. The Brier score and the mean of
probability minus frequency, both plain means over the images, stand beside the slope.
"""

from __future__ import annotations

from math import nan

import numpy as np

from metrics.inference.auroc import lacking
from metrics.intervals import Estimate

_NEAR = 1e-6  # probabilities are read as no nearer to 0 and 1


def calibration_slope(truth: np.ndarray, probability: np.ndarray, patients: np.ndarray) -> Estimate:
    r"""Return the calibration slope with its 95 % interval over patients.

    :math:`b` of :math:`\text{logit } P(y = 1) = a + b \text{ logit } p` (Cox, Biometrika 1958): 1 if calibrated, below
    1 where probabilities are too extreme. A logistic regression, with the sandwich variance by patient.

    Args:
        truth: (N,) bool.
        probability: (N,) in [0, 1].
        patients: (N,) their patients.

    Returns:
        NaN with fewer than ten patients of either class, and where a threshold tells all images right.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.random(500)
        >>> _, low, high = calibration_slope(rng.random(500) < p, p, np.arange(500))
        >>> low < 1 < high
        True
    """
    from scipy.special import stdtrit

    p = np.clip(probability, _NEAR, 1 - _NEAR)
    design, y = np.stack([np.ones(len(p)), np.log(p / (1 - p))], axis=1), np.asarray(truth, float)
    undefined = Estimate(nan, nan, nan)
    if lacking(np.asarray(truth, bool), patients) or np.ptp(design[:, 1]) == 0 or _is_separable(y, design[:, 1]):
        return undefined

    # the regression, by Newton's steps
    weights = np.zeros(2)
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-design @ weights))
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if np.linalg.cond(information) > 1e12:
            return undefined
        step = np.linalg.solve(information, design.T @ (y - fitted))
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    else:
        return undefined

    # its variance, patient by patient
    patient = np.unique(patients, return_inverse=True)[1]
    scores = np.stack([np.bincount(patient, column) for column in (design * (y - fitted)[:, None]).T])
    n = scores.shape[1]
    bread = np.linalg.inv(information)
    variance = (bread @ scores @ scores.T @ bread)[1, 1] * n / (n - 1)
    rarer = min(len(np.unique(patient[y == 1])), len(np.unique(patient[y == 0])))
    half = float(stdtrit(rarer - 1, 0.975)) * variance**0.5
    return Estimate(float(weights[1]), float(weights[1] - half), float(weights[1] + half))


def _is_separable(y: np.ndarray, value: np.ndarray) -> bool:
    positive, negative = value[y == 1], value[y == 0]
    return bool(positive.min() >= negative.max() or positive.max() <= negative.min())
