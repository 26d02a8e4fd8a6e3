r"""How far a mean over patients and trainings may be off, when every training sees the same patients.

A configuration's score is the mean over its trainings (seeds) of each one's mean over the patients' images. Other
patients and other seeds would both give another figure, and neither is inside the other: the two are crossed. With a
patient's influence :math:`u_{sp}` on the mean :math:`r_s` of training :math:`s` (Owen, Ann Appl Stat 2007; Cameron,
Gelbach and Miller, JBES 2011), :math:`P` patients and :math:`S` trainings,

.. math::
    V_\text{patients} = \frac{\sum_p \bar{u}_p^2}{P (P - 1)} \qquad
    V_\text{seeds} = \frac{\sum_s (r_s - \bar{r})^2}{S (S - 1)} \qquad
    V_\text{both} = \frac{\sum_{sp} (u_{sp} - \bar{u}_p)^2}{S (S - 1) P (P - 1)}

and the variance of the mean is :math:`V_\text{patients} - V_\text{both} + V_\text{seeds}`: what patients and seeds do
together is in the first and in the last, and must not be counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, sqrt

import numpy as np


@dataclass(frozen=True)
class Influences:
    """What each patient does to each training's mean.

    Attributes:
        means: (S,) of the trainings.
        patients: (S, P), of mean zero: a training's mean is off by the mean of its row for P new patients.
        images: Images that count, the mean over the trainings.
    """

    means: np.ndarray
    patients: np.ndarray
    images: float

    @property
    def mean(self) -> float:
        """The mean over the trainings."""
        return float(self.means.mean())


def influences(values: np.ndarray, patients: np.ndarray) -> Influences:
    """Return what each patient does to the means of several trainings, ratios of sums over the patients' images.

    Args:
        values: (S, N) one row a training; NaN: this image does not count in this training.
        patients: (N,) integers 0 ... P - 1, the images' patients.

    Example:
        Two trainings, three images of two patients.

        >>> found = influences(np.array([[1.0, 0, 0], [1, 1, 0]]), np.array([0, 0, 1]))
        >>> found.means.round(3).tolist(), found.patients.round(3).tolist()
        ([0.333, 0.667], [[0.222, -0.222], [0.444, -0.444]])
    """
    n_patients, known = int(patients.max()) + 1, ~np.isnan(values)
    totals = _sums(np.where(known, values, 0.0), patients, n_patients)
    counts = _sums(known.astype(float), patients, n_patients)
    images = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = totals.sum(axis=1) / images
        return Influences(means, (totals - means[:, None] * counts) * (n_patients / images)[:, None], images.mean())


@dataclass(frozen=True)
class Variation:
    """The parts of the variance of a mean, or of a difference of two means.

    Attributes:
        patients: Of the patients, and what patients and seeds do together.
        both: The latter alone.
        seeds: Of the seeds, and what both do together; NaN where a single training tells nothing of others.
        n_patients: Number of patients.
        freedom: Degrees of freedom of ``seeds``: of the sides whose trainings are not all alike.
    """

    patients: float
    both: float
    seeds: float
    n_patients: int
    freedom: int

    def with_patients(self, variance: float) -> Variation:
        """Return it with another variance over patients."""
        return replace(self, patients=variance)

    def errors(self) -> list[tuple[float, float]]:
        """Return standard errors with their degrees of freedom; the widest of their intervals holds.

        Where the trainings vary by no more than their patients' noise explains, the error is that of other patients for
        the same trainings, made a little smaller, for their likeness is evidence too. Else there are two, this one, and
        that of other trainings too, with Satterthwaite's degrees of freedom; their number is made smaller
        (:math:`V / V_s` in place of its square), since of two degrees of freedom his formula makes too many in the
        middle between both parts. How much is no more, and how much smaller, was chosen so that the interval holds from
        trainings that are all alike to trainings that differ more than patients: ``benchmarks/coverage.py``.
        """
        enough, part = (0.65, 0.85) if self.freedom <= 2 else (1.2, 0.95)
        if isnan(self.seeds):
            return [(sqrt(self.patients), float(self.n_patients - 1))]
        if self.seeds <= enough * self.both:
            return [(sqrt(part * self.patients), float(self.n_patients - 1))]
        variance = max(self.patients - self.both, 0.0) + self.seeds
        freedom = min(self.freedom * variance / self.seeds, self.n_patients - 1)
        return [(sqrt(self.patients), float(self.n_patients - 1)), (sqrt(variance), freedom)]

    def quantiles(self, confidence: float = 0.95) -> list[tuple[float, float]]:
        """Return the standard errors with Student's quantiles."""
        from scipy.special import stdtrit

        return [(error, float(stdtrit(freedom, 0.5 + confidence / 2))) for error, freedom in self.errors()]

    def half_width(self, confidence: float = 0.95) -> float:
        """Return half the width of the interval."""
        return max(error * quantile for error, quantile in self.quantiles(confidence))

    def p_value(self, difference: float) -> float:
        """Return the p-value of a difference: below 0.05 exactly where the 95 % interval leaves out zero."""
        from scipy.special import stdtr

        return max(float(2 * stdtr(freedom, -abs(difference) / error)) for error, freedom in self.errors())


def variation(own: Influences, minus: Influences | None = None) -> Variation:
    """Return the variation of a mean over trainings, or of its difference to another one on the same patients.

    Args:
        own: Of S trainings.
        minus: Of others.
    """
    sides = [own] if minus is None else [own, minus]
    n_patients = own.patients.shape[1]

    # trainings that are alike for every patient, as those that never change an answer, tell nothing of how others vary
    varying = [side for side in sides if np.ptp(side.patients, axis=0).any() or np.ptp(side.means)] or sides
    freedom = sum(len(side.means) - 1 for side in varying)
    total = own.patients.mean(axis=0) - (0 if minus is None else minus.patients.mean(axis=0))
    scale = n_patients * max(n_patients - 1, 1)
    several = all(len(side.means) > 1 for side in sides)
    return Variation(
        patients=float(total @ total) / scale,
        both=sum(_both(side) for side in sides) / scale if several else 0.0,
        seeds=sum(float(side.means.var(ddof=1)) / len(side.means) for side in sides) if several else float("nan"),
        n_patients=n_patients,
        freedom=freedom,
    )


def _both(side: Influences) -> float:
    apart = side.patients - side.patients.mean(axis=0)
    n = len(side.means)
    return float((apart * apart).sum()) / (n * (n - 1))


def _sums(rows: np.ndarray, patients: np.ndarray, n_patients: int) -> np.ndarray:
    return np.stack([np.bincount(patients, row, n_patients) for row in rows])
