"""95 % intervals by resampling patients, since several images of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metrics.intervals import wilson

# (R, N) weights, how often each of R resamples holds each of N images -> (R,) values.
Statistic = Callable[[np.ndarray], np.ndarray]
_CHUNK = 2**24  # weights of images in memory at a time


class Estimate(NamedTuple):
    """A score with the ends of its 95 % interval; NaN where one is not defined."""

    value: float
    low: float
    high: float


class PatientBootstrap:
    """Draw patients with replacement and score their images (Efron & Tibshirani, 1993, percentile interval).

    All estimates of one object use the same draws, so that the difference of two of its scores is a paired one.

    Args:
        patients: A patient id for each of the N images.
        resamples: Number of draws R.
        seed: Seed of the draws.

    Example:
        Four images of three patients, three of them right.

        >>> from functools import partial
        >>> from metrics import weighted
        >>> bootstrap = PatientBootstrap(["a", "a", "b", "c"])
        >>> accuracy = partial(weighted.mean, values=np.array([1.0, 1.0, 0.0, 1.0]))
        >>> bootstrap.estimate(accuracy)
        Estimate(value=0.75, low=0.0, high=1.0)
    """

    def __init__(self, patients: Sequence[str] | np.ndarray, resamples: int = 2000, seed: int = 0) -> None:
        ids, self._patient_of_image = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
        self.n_images, self.n_patients, self.resamples = len(self._patient_of_image), len(ids), resamples
        draws = np.random.default_rng(seed).integers(self.n_patients, size=(resamples, self.n_patients), dtype=np.int32)
        counts = [np.bincount(draw, minlength=self.n_patients) for draw in draws]
        self._counts = np.array(counts, dtype=np.uint16).reshape(resamples, self.n_patients)

    def values(self, statistic: Statistic) -> np.ndarray:
        """Return the statistic of the images as they are, then of every resample: (1 + R,)."""
        per_chunk = max(1, _CHUNK // max(1, self.n_images))
        parts = [statistic(np.ones((1, self.n_images)))]
        for start in range(0, len(self._counts), per_chunk):
            parts.append(statistic(self._counts[start : start + per_chunk, self._patient_of_image].astype(float)))
        return np.concatenate(parts)

    def estimate(
        self, statistic: Statistic, *, share: float | None = None, counted: np.ndarray | None = None
    ) -> Estimate:
        """Return :meth:`interval` of the statistic's :meth:`values`."""
        return self.interval(self.values(statistic), share=share, counted=counted)

    def interval(
        self, values: np.ndarray, *, share: float | None = None, counted: np.ndarray | None = None
    ) -> Estimate:
        """Return the value with its percentile interval; resamples in which it is not defined are left out.

        Args:
            values: (1 + R,) of :meth:`values`.
            share: The whole of which the score is a share (1 or 100). Resamples that all agree do not tell how sure a
                score is: a share that is always 0 or the whole gets Wilson's interval over the patients, any other
                score none.
            counted: (N,) bool, the images that count; None: all.
        """
        value, resampled = float(values[0]), values[1:][np.isfinite(values[1:])]
        if not np.isfinite(value) or not len(resampled):
            return Estimate(value, np.nan, np.nan)
        if not _is_constant(values):
            low, high = np.percentile(resampled, [2.5, 97.5])
            return Estimate(value, float(low), float(high))

        # all resamples agree
        if share is None or value not in (0, share):
            return Estimate(value, np.nan, np.nan)
        n = len(np.unique(self._patient_of_image if counted is None else self._patient_of_image[counted]))
        low, high = wilson(n if value else 0, n)
        return Estimate(value, share * low, share * high)

    def difference(
        self,
        first: np.ndarray,
        second: np.ndarray,
        *,
        share: float | None = None,
        counted: np.ndarray | None = None,
    ) -> Estimate:
        """Return first minus second, both of :meth:`values`, on the same resamples.

        If one of two shares is 0 or the whole in every resample, the interval comes from both intervals by the
        square-and-add method (Newcombe, Stat Med 1998), which ignores the pairing and so is on the safe side.

        Args:
            first: (1 + R,) of :meth:`values`.
            second: The same of another statistic.
            share: As of :meth:`interval`.
            counted: As of :meth:`interval`.
        """
        if share is None or not (_is_constant(first) or _is_constant(second)):
            return self.interval(first - second)
        a, b = (self.interval(values, share=share, counted=counted) for values in (first, second))
        value = a.value - b.value
        below, above = np.hypot(a.value - a.low, b.high - b.value), np.hypot(a.high - a.value, b.value - b.low)
        return Estimate(value, float(value - below), float(value + above))


def _is_constant(values: np.ndarray) -> bool:
    """Whether all resamples that define the score agree."""
    resampled = values[1:][np.isfinite(values[1:])]
    return not len(resampled) or bool(np.ptp(resampled) == 0)
