"""Confidence intervals of shares, and of means over few runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt
from statistics import NormalDist, fmean, stdev


def wilson(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share k/n (Wilson, JASA 1927), without continuity correction.

    Unlike the normal approximation it stays in [0, 1] and has a width at k = 0, which is where a good PI score lies.

    Returns:
        Low and high end, both in [0, 1]; NaN for n = 0.
    """
    if n == 0:
        return nan, nan
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, shrink = k / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / shrink
    half = z / shrink * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At k = 0 and k = n the ends are exactly 0 and 1; rounding must not say otherwise.
    return (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of a few runs, mean -+ t s / sqrt(n); NaN for fewer than two.

    Wide for few seeds, as it should be: t is 12.7 for two and 4.3 for three, where a normal's is 2.
    """
    if len(values) < 2:
        return nan, nan
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
