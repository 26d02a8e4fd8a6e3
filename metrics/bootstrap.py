"""Scores that are no mean of the images' values: intervals by resampling patients, whose images are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, sqrt

import numpy as np

from metrics.inference.differences import PairedDifference
from metrics.intervals import Estimate, around

# (R, N) weights, how often each of R resamples holds each of N images -> (R,) values.
Statistic = Callable[[np.ndarray], np.ndarray]
_CHUNK = 2**24  # weights of images in memory at a time


class PatientBootstrap:
    """Draw patients with replacement and score their images (Efron & Tibshirani, 1993).

    The interval is Student's with the draws' standard deviation, enlarged by sqrt(P / (P - 1)), by which drawing P
    patients makes it too small; in log-odds where the score has ends. The percentile interval, which lacks both,
    covered too little for few patients. All estimates of one object use the same draws, so that differences of two
    scores are paired.

    Args:
        patients: A patient id for each of the N images.
        resamples: Number of draws R.
        seed: Seed of the draws.

    Attributes:
        patient_of_image: (N,) integers 0 ... P - 1.

    Example:
        Four images of three patients, three of them right.

        >>> from functools import partial
        >>> from metrics import weighted
        >>> bootstrap = PatientBootstrap(["a", "a", "b", "c"])
        >>> accuracy = partial(weighted.mean, values=np.array([1.0, 1.0, 0.0, 1.0]))
        >>> value, low, high = bootstrap.estimate(accuracy, whole=1.0)
        >>> value, 0 < low < 0.75 < high < 1
        (0.75, True)
    """

    def __init__(self, patients: Sequence[str] | np.ndarray, resamples: int = 2000, seed: int = 0) -> None:
        ids, self.patient_of_image = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
        self.n_images, self.n_patients, self.resamples = len(self.patient_of_image), len(ids), resamples
        draws = np.random.default_rng(seed).integers(self.n_patients, size=(resamples, self.n_patients), dtype=np.int32)
        counts = [np.bincount(draw, minlength=self.n_patients) for draw in draws]
        self._counts = np.array(counts, dtype=np.uint16).reshape(resamples, self.n_patients)

    def values(self, statistic: Statistic) -> np.ndarray:
        """Return the statistic of the images as they are, then of every resample: (1 + R,)."""
        per_chunk = max(1, _CHUNK // max(1, self.n_images))
        parts = [statistic(np.ones((1, self.n_images)))]
        for start in range(0, len(self._counts), per_chunk):
            parts.append(statistic(self._counts[start : start + per_chunk, self.patient_of_image].astype(float)))
        return np.concatenate(parts)

    def estimate(self, statistic: Statistic, whole: float | None = None) -> Estimate:
        """Return :meth:`interval` of the statistic's :meth:`values`."""
        return self.interval(self.values(statistic), whole)

    def interval(self, values: np.ndarray, whole: float | None = None) -> Estimate:
        """Return the value with its interval; resamples in which it is not defined are left out.

        Args:
            values: (1 + R,) of :meth:`values`.
            whole: The upper end of a score in [0, whole]; None: it has no ends.

        Returns:
            Without an interval where all resamples agree, which does not tell how sure a score is.
        """
        error = self._error(values)
        return around(float(values[0]), self._quantile() * error if error > 0 else nan, whole)

    def difference(self, first: np.ndarray, second: np.ndarray, patients: int | None = None) -> PairedDifference:
        """Return first minus second, both of :meth:`values` of one training, on the same resamples.

        Args:
            first: (1 + R,).
            second: (1 + R,).
            patients: Those who count, of whom Student's quantile is; None: all.
        """
        from scipy.special import stdtr, stdtrit

        patients = self.n_patients if patients is None else patients
        value, error = float(first[0] - second[0]), self._error(first - second)
        if not error > 0 or patients < 2:
            return PairedDifference(value, nan, nan, nan, seeds=1, patients=patients)
        half, p = float(stdtrit(patients - 1, 0.975)) * error, float(2 * stdtr(patients - 1, -abs(value) / error))
        return PairedDifference(value, value - half, value + half, p, seeds=1, patients=patients)

    def _error(self, values: np.ndarray) -> float:
        """Return the standard error; NaN or 0 where it cannot be told."""
        resampled = values[1:][np.isfinite(values[1:])]
        if not np.isfinite(values[0]) or len(resampled) < 2 or self.n_patients < 2:
            return nan
        if np.ptp(resampled) <= 1e-12 * abs(float(values[0])):
            return 0.0
        return float(resampled.std(ddof=1)) * sqrt(self.n_patients / (self.n_patients - 1))

    def _quantile(self) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.n_patients - 1, 0.975))
