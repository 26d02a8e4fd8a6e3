"""95 % intervals by resampling patients: several images of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metrics.intervals import wilson

# (R, N) weights, how often each of R resamples holds each of N images -> (R,) values.
Statistic = Callable[[np.ndarray], np.ndarray]
_CHUNK = 2**24  # weights that are spread out to images at a time


class Estimate(NamedTuple):
    """A score with the ends of its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


class PatientBootstrap:
    """Draws patients with replacement and scores their images (Efron & Tibshirani, 1993, percentile interval).

    All estimates of one object use the same draws, so that the difference of two of its scores is a paired one.

    Args:
        patients: A patient id for each of the N images.
        resamples: Number of draws R.
        seed: Of the draws.
    """

    def __init__(self, patients: Sequence[str] | np.ndarray, resamples: int = 2000, seed: int = 0) -> None:
        ids, self._of_image = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
        self.n_images, self.n_patients, self.resamples = len(self._of_image), len(ids), resamples
        draws = np.random.default_rng(seed).integers(self.n_patients, size=(resamples, self.n_patients), dtype=np.int32)
        counts = [np.bincount(draw, minlength=self.n_patients) for draw in draws]
        self._counts = np.array(counts, dtype=np.uint16).reshape(resamples, self.n_patients)

    def values(self, statistic: Statistic) -> np.ndarray:
        """The statistic of the images as they are, then of every resample: (1 + R,)."""
        per_chunk = max(1, _CHUNK // max(1, self.n_images))
        parts = [statistic(np.ones((1, self.n_images)))]
        for start in range(0, len(self._counts), per_chunk):
            parts.append(statistic(self._counts[start : start + per_chunk, self._of_image].astype(float)))
        return np.concatenate(parts)

    def estimate(
        self, statistic: Statistic, *, share: float | None = None, counted: np.ndarray | None = None
    ) -> Estimate:
        """:meth:`interval` of the statistic's :meth:`values`."""
        return self.interval(self.values(statistic), share=share, counted=counted)

    def interval(
        self, values: np.ndarray, *, share: float | None = None, counted: np.ndarray | None = None
    ) -> Estimate:
        """The value and the percentile interval; resamples in which it is not defined are left out.

        Args:
            values: (1 + R,) of :meth:`values`.
            share: The whole of which the score is a share (1 or 100). Resamples that all agree say nothing of how sure
                a score is: a share that is always 0 or the whole gets Wilson's interval over the patients, any other
                score none.
            counted: (N,) bool, the images that count; None: all.
        """
        value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
        if not np.isfinite(value) or not len(drawn):
            return Estimate(value, np.nan, np.nan)
        if not _constant(values):
            low, high = np.percentile(drawn, [2.5, 97.5])
            return Estimate(value, float(low), float(high))
        if share is None or value not in (0, share):
            return Estimate(value, np.nan, np.nan)
        n = len(np.unique(self._of_image if counted is None else self._of_image[counted]))
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
        """First minus second, both of :meth:`values`, on the same resamples.

        Of shares of which one is 0 or the whole in every resample, by the square-and-add method from both intervals
        (Newcombe, Stat Med 1998), which takes no heed of the pairing and so is on the safe side.
        """
        if share is None or not (_constant(first) or _constant(second)):
            return self.interval(first - second)
        a, b = (self.interval(values, share=share, counted=counted) for values in (first, second))
        value = a.value - b.value
        below, above = np.hypot(a.value - a.low, b.high - b.value), np.hypot(a.high - a.value, b.value - b.low)
        return Estimate(value, float(value - below), float(value + above))


def _constant(values: np.ndarray) -> bool:
    """Whether all resamples that define the score agree."""
    drawn = values[1:][np.isfinite(values[1:])]
    return not len(drawn) or bool(np.ptp(drawn) == 0)
