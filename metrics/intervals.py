"""Confidence intervals of shares and means: over patients, whose images are not independent, and over runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isnan, log, nan, sqrt
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

import numpy as np

from metrics.inference.crossed import influences, variation


class Estimate(NamedTuple):
    """A score with the ends of its 95 % interval; NaN where one is not defined."""

    value: float
    low: float
    high: float


def wilson(k: float, n: float, confidence: float = 0.95, quantile: float | None = None) -> tuple[float, float]:
    r"""Return Wilson's score interval of a share k/n (Wilson, JASA 1927), without continuity correction.

    .. math:: \frac{k + z^2/2}{n + z^2} \pm \frac{z}{n + z^2} \sqrt{\frac{k (n - k)}{n} + \frac{z^2}{4}}

    Unlike the normal approximation it stays in [0, 1] and has a width at k = 0, which is where a good PI score lies.
    It equals ``scipy.stats.binomtest(k, n).proportion_ci(method="wilson")``, which takes whole numbers alone: the
    shares that a paper prints, the means over several seeds and effective numbers of images are none.

    Args:
        k: Number of hits, in [0, n].
        n: Number of trials.
        confidence: In (0, 1).
        quantile: Taken for z, as Student's where n is itself estimated; None: the normal distribution's.

    Returns:
        Low and high end, both in [0, 1], exactly 0 at k = 0 and exactly 1 at k = n; NaN for n = 0.

    Example:
        >>> low, high = wilson(10, 100)
        >>> round(low, 4), round(high, 4)
        (0.0552, 0.1744)
        >>> wilson(0, 25)[0]
        0.0
    """
    if n == 0:
        return nan, nan
    z = NormalDist().inv_cdf(0.5 + confidence / 2) if quantile is None else quantile
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)

    # at k = 0 and k = n the ends are exactly 0 and 1; rounding must not say otherwise
    return (0.0 if k == 0 else max(0.0, middle - half)), (1.0 if k == n else min(1.0, middle + half))


def share_interval(events: np.ndarray, patients: np.ndarray, scale: float = 1.0) -> Estimate:
    r"""Return a share of images with its 95 % interval over patients, and over trainings where there are several.

    Wilson's interval of as many independent images as would have the share's variance, with Student's quantile (Korn
    and Graubard, Survey Methodology 1998, for the exact interval). One training's variance is the binomial one times a
    design effect, at least 1. Few patients with an event know little of it, so it is drawn towards that of patients
    whose images are all alike, as if one more such patient had been seen; with no event at all patients are counted.

    Args:
        events: (S, N) of S trainings, or (N,): 1 or 0; NaN: the image does not count.
        patients: (N,) integers 0 ... P - 1, the images' patients.
        scale: 100 for percent.

    Example:
        Four images of each of three patients; one changes.

        >>> events = np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        >>> value, low, high = share_interval(events, np.arange(12) // 4, scale=100)
        >>> round(value, 1), round(low, 1), round(high, 1)
        (8.3, 0.2, 82.9)
        >>> share_interval(0 * events, np.arange(12) // 4).high == wilson(0, 3)[1]
        True
    """
    rows = np.atleast_2d(np.asarray(events, float))
    counts = ~np.isnan(rows).all(axis=0)
    if not counts.any() or np.isnan(rows).all(axis=1).any():
        return Estimate(nan, nan, nan)
    ids, patient = np.unique(patients[counts], return_inverse=True)
    found = influences(rows[:, counts], patient)
    share = found.mean
    if share in (0.0, 1.0) or len(ids) < 2:
        low, high = wilson(share * len(ids), len(ids))
        return Estimate(scale * share, scale * low, scale * high)

    # the variance, no smaller than the images', of whose likeness few events know little
    parts = variation(found)
    binomial = share * (1 - share) / found.images
    happened, n_per_patient = np.nan_to_num(rows[:, counts]), found.images / len(ids)
    patients_with = np.bincount(patient, happened.mean(axis=0)) > 0
    patients_without = np.bincount(patient, 1 - happened.mean(axis=0)) > 0
    seen = min(patients_with.sum(), patients_without.sum())
    if len(rows) == 1:
        effect = (max(parts.patients / binomial, 1.0) * seen + n_per_patient) / (seen + 1)
        parts = parts.with_patients(effect * binomial)
    ends = [
        wilson(share * n, n, quantile=q) for n, q in _effective(share, parts.quantiles(), most=found.images * len(rows))
    ]
    return Estimate(scale * share, scale * min(low for low, _ in ends), scale * max(high for _, high in ends))


def _effective(share: float, errors: list[tuple[float, float]], most: float) -> list[tuple[float, float]]:
    """Return for each standard error the independent images that have it, 1 to ``most``, and the quantile."""
    smallest = sqrt(share * (1 - share) / most)
    return [(max(share * (1 - share) / max(error, smallest) ** 2, 1.0), quantile) for error, quantile in errors]


def mean_interval(values: np.ndarray, patients: np.ndarray, whole: float | None = None) -> Estimate:
    """Return the mean of a number per image, with Student's 95 % interval over patients.

    Args:
        values: (N,) NaN: the image does not count.
        patients: (N,) integers 0 ... P - 1, the images' patients.
        whole: The upper end of values that lie in [0, whole]: the interval is symmetric in their log-odds, so that it
            stays inside; None: they have no ends.

    Returns:
        Without an interval for fewer than two patients, and where all values are equal, which tells nothing of others.

    Example:
        >>> value, low, high = mean_interval(np.array([0.2, 0.4, 0.9]), np.arange(3), whole=1.0)
        >>> round(value, 2), round(low, 2), round(high, 2)
        (0.5, 0.03, 0.97)
    """
    counts = ~np.isnan(values)
    if not counts.any():
        return Estimate(nan, nan, nan)
    found = influences(values[None, counts], np.unique(patients[counts], return_inverse=True)[1])
    parts = variation(found)
    if parts.n_patients < 2 or parts.patients <= 1e-12 * found.mean**2:
        return Estimate(found.mean, nan, nan)
    return around(found.mean, parts.half_width(), whole)


def around(value: float, half: float, whole: float | None = None) -> Estimate:
    """Return a value with its interval of a half width; in log-odds where the value lies in (0, whole).

    Example:
        >>> around(0.9, 0.3, whole=1.0).high < 1
        True
    """
    if isnan(half):
        return Estimate(value, nan, nan)
    if whole is None:
        return Estimate(value, value - half, value + half)
    share = value / whole
    if not 0 < share < 1:
        return Estimate(value, nan, nan)
    odds, reach = log(share / (1 - share)), half / whole / (share * (1 - share))
    low, high = (1 / (1 + exp(-max(min(end, 700.0), -700.0))) for end in (odds - reach, odds + reach))
    return Estimate(value, whole * low, whole * high)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    r"""Return Student's interval of the mean of a few runs, :math:`\bar{x} \pm t_{n-1} s / \sqrt{n}`.

    It is wide for few seeds, as it should be: t is 12.7 for two and 4.3 for three, where a normal distribution's is 2.

    Args:
        values: One score per run.
        confidence: In (0, 1).

    Returns:
        Low and high end; NaN for fewer than two runs, and for runs that are all equal, which do not say how far others
        would be.

    Example:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    if len(values) < 2 or max(values) == min(values):
        return nan, nan
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
