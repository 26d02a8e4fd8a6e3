"""Two configurations on the same pairs: the difference of their scores, how sure it is, and what may be said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np

from metrics.inference.crossed import influences, variation
from metrics.inference.discordance import disagreement, images_apart
from metrics.intervals import wilson

CLEAR, LIKELY = (
    0.005,
    0.05,
)  # p-values below which a difference is called so; 0.005: Benjamin et al., Nat Hum Behav 2018

# What can be said of two configurations. With one training of either, the figures are of these trainings alone.
VERDICTS = ("clear", "likely", "these trainings only", "not shown", "unknown")
SEVERAL = 3  # trainings of each, below which nothing is called clear
FEW_PATIENTS = 20  # below which nothing is said to differ
TRIED_PATIENTS = 50  # the fewest of which benchmarks/coverage.py has tried the rule: below, nothing is called clear
FEW_DISAGREE = 4  # patients on whom trainings disagree: fewer count as so many


@dataclass(frozen=True)
class PairedDifference:
    """Second configuration minus first, on the same images.

    Attributes:
        value: In the unit of the values; NaN where either mean is undefined.
        low: Lower end of the 95 % interval, NaN where it cannot be told.
        high: Its upper end.
        p: Two-sided p-value: below 0.05 exactly where the interval leaves out zero.
        seeds: Trainings of the configuration that has fewer: with one, interval and p-value are of these two trainings
            for other patients, and of no other training.
        patients: Number of patients who count, in the configuration that has fewer.
        why: What there is not enough of, where there is no interval; empty: nothing is known of it.
        few: On how few patients the two disagree, where this alone keeps a difference from being shown; else empty.

    Example:
        >>> PairedDifference(-2.8, -4.5, -1.1, p=0.004, seeds=3, patients=200).verdict
        'clear'
        >>> PairedDifference(-2.8, -4.5, -1.1, p=0.004, seeds=1, patients=200).verdict
        'these trainings only'
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int
    patients: int
    why: str = ""
    few: str = ""

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        return verdict(self.p, self.seeds, self.patients)

    @property
    def reason(self) -> str:
        """Why nothing is said, where the verdict is ``unknown``; else empty.

        Example:
            >>> PairedDifference(-20.0, -95.4, 55.4, p=0.5, seeds=1, patients=5).reason
            '5 patients, at least 20 are needed'
        """
        if self.verdict != "unknown":
            return ""
        if self.why:
            return self.why
        if self.patients < FEW_PATIENTS:
            return f"{self.patients} patient{'s' if self.patients != 1 else ''}, at least {FEW_PATIENTS} are needed"
        return "the images do not tell how far it may be off"


def verdict(p: float, seeds: int, patients: int) -> str:
    """Return what may be said of a difference.

    Args:
        p: P-value, adjusted for the number of comparisons; NaN: there is none.
        seeds: Trainings of the configuration that has fewer.
        patients: Number of patients.

    Returns:
        ``unknown``: there is no p-value, or there are fewer than 20 patients; ``not shown``: p is 0.05 or more; ``these
        trainings only``: p is below, but one of the two was trained once; ``likely``; ``clear``: p is below 0.005,
        there are 50 patients or more, and both were trained three times or more, since two trainings hardly tell how
        far a third would be.

    Example:
        >>> [verdict(p, seeds=3, patients=200) for p in (0.2, 0.03, 0.004)]
        ['not shown', 'likely', 'clear']
    """
    if isnan(p) or patients < FEW_PATIENTS:
        return "unknown"
    if p >= LIKELY:
        return "not shown"
    if seeds < 2:
        return "these trainings only"
    return "clear" if p < CLEAR and seeds >= SEVERAL and patients >= TRIED_PATIENTS else "likely"


def paired_difference(
    first: np.ndarray, second: np.ndarray, patients: np.ndarray, scale: float = 1.0
) -> PairedDifference:
    """Compare the means of two configurations, whose trainings all saw the same images.

    The variance is that of :mod:`metrics.inference.crossed`: patients and trainings. Fewer than four patients on whom
    trainings disagree count as four, for they hardly tell how far others would; where there is none, the interval is as
    wide as Wilson's for none of so many patients. Whatever the variance says, nothing differs that an exact test on the
    patients on whom the two disagree does not find: see :func:`require_exact`.

    Args:
        first: (S, N) events (1 / 0) or shares in [0, 1], a row a training; NaN: the image does not count.
        second: (T, N) the same of the other configuration.
        patients: (N,) integers 0 ... P - 1, the images' patients.
        scale: 100 for percentage points.

    Example:
        Eight of forty patients' answers change with the first alone, two with both.

        >>> first, second = np.zeros((1, 40)), np.zeros((1, 40))
        >>> first[0, :10], second[0, :2] = 1, 1
        >>> found = paired_difference(first, second, np.arange(40), scale=100)
        >>> round(found.value, 1), round(found.low, 1), round(found.high, 1), found.p
        (-20.0, -33.0, -7.0, 0.0078125)
    """
    mine, theirs = influences(second, patients), influences(first, patients)
    value = mine.mean - theirs.mean
    n_patients = min(len(np.unique(patients[~np.isnan(rows).all(axis=0)])) for rows in (first, second))
    seeds = min(len(first), len(second))
    if isnan(value) or n_patients < 2:
        return PairedDifference(scale * value, nan, nan, nan, seeds, n_patients)

    parts = variation(mine, theirs)
    disagreeing = len(np.unique(patients[images_apart(first, second)]))
    if disagreeing == 0 or parts.patients == 0:
        half, p = max(wilson(0, n_patients)[1], abs(value)), 1.0
    else:
        parts = parts.with_patients(parts.patients * max(1.0, FEW_DISAGREE / disagreeing))
        half, p = parts.half_width(), parts.p_value(value)
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    found = PairedDifference(scale * value, scale * low, scale * high, p, seeds, n_patients)
    return require_exact(found, first, second, patients)


def require_exact(
    found: PairedDifference, first: np.ndarray, second: np.ndarray, patients: np.ndarray
) -> PairedDifference:
    """Return a difference with the p-value of an exact test in place of its own, where that is larger.

    Of events of two single trainings, the sign test over the patients on whom they disagree, which is McNemar's exact
    test where a patient has one image; of others the smallest p-value that so many patients can have. Fewer than six
    thus never differ. Where the interval leaves out zero and p is not below 0.05, the interval is made to reach beyond
    zero, to the exact one's end.

    Args:
        found: Second minus first.
        first: (S, N) as in :func:`paired_difference`.
        second: (T, N) the same.
        patients: (N,) the images' patients.

    Example:
        None against five of 47 answers change.

        >>> first, second = np.zeros((1, 47)), np.zeros((1, 47))
        >>> first[0, :5] = 1
        >>> found = paired_difference(first, second, np.arange(47), scale=100)
        >>> round(found.value, 1), found.low < -19, round(found.high, 1), found.p, found.verdict
        (-10.6, True, 0.5, 0.0625, 'not shown')
        >>> found.few
        'on 5 patients they disagree, 5 against 0: too few to tell two trainings apart'
    """
    if isnan(found.p) or found.value == 0:
        return found
    apart = disagreement(first, second, patients)
    p = max(found.p, apart.p_value(found.value))
    if p < LIKELY or found.low <= 0 <= found.high:
        return replace(found, p=p)

    # the exact interval's end, on the other side of zero
    end, k = apart.end(found.value), apart.agreeing(found.value)
    sides = "" if apart.more is None else f", {k} against {apart.patients - k}"
    two, on = "two trainings" if found.seeds == 1 else "the two", "patient" if apart.patients == 1 else "patients"
    few = f"on {apart.patients} {on} they disagree{sides}: too few to tell {two} apart"
    return replace(found, low=min(found.low, end), high=max(found.high, end), p=p, few=few)
