"""Confidence intervals of shares, and of means over few runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt
from statistics import NormalDist, fmean, stdev


def wilson(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    r"""Return Wilson's score interval of a share k/n (Wilson, JASA 1927), without continuity correction.

    .. math:: \frac{k + z^2/2}{n + z^2} \pm \frac{z}{n + z^2} \sqrt{\frac{k (n - k)}{n} + \frac{z^2}{4}}

    Unlike the normal approximation it stays in [0, 1] and has a width at k = 0, which is where a good PI score lies.
    It equals ``scipy.stats.binomtest(k, n).proportion_ci(method="wilson")``, which takes whole numbers alone: the
    shares that a paper prints and the means over several seeds are no whole number of images.

    Args:
        k: Number of hits, in [0, n].
        n: Number of trials.
        confidence: In (0, 1).

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
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)

    # at k = 0 and k = n the ends are exactly 0 and 1; rounding must not say otherwise
    return (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    r"""Return Student's interval of the mean of a few runs, :math:`\bar{x} \pm t_{n-1} s / \sqrt{n}`.

    It is wide for few seeds, as it should be: t is 12.7 for two and 4.3 for three, where a normal distribution's is 2.

    Args:
        values: One score per run.
        confidence: In (0, 1).

    Returns:
        Low and high end; NaN for fewer than two runs.

    Example:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    if len(values) < 2:
        return nan, nan
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
