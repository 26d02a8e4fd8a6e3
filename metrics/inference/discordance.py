"""On how many patients two trainings or configurations disagree, and the smallest p-value that so many can have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Disagreement(NamedTuple):
    """The patients on whom the second of two is not as the first.

    Attributes:
        patients: Their number.
        more: Those on whom the second is higher by the net difference of their images; None: signs tell nothing exact,
            for one of the two is a mean of several trainings, the images are no events, or not the same ones count.
    """

    patients: int
    more: int | None

    def agreeing(self, difference: float) -> int:
        """Return how many of them the difference goes with; all, where signs tell nothing."""
        if self.more is None:
            return self.patients
        return self.more if difference > 0 else self.patients - self.more

    def p_value(self, difference: float) -> float:
        """Return the two-sided p-value of the exact sign test; where signs tell nothing, the smallest possible one.

        With one image a patient it is McNemar's exact test. Of n patients the smallest is 2^(1 - n): fewer than six are
        never below 0.05.

        Example:
            >>> [round(Disagreement(n, more).p_value(-10), 4) for n, more in ((5, 0), (6, 0), (12, 2))]
            [0.0625, 0.0312, 0.0386]
        """
        from scipy.special import bdtrc

        return min(1.0, float(2 * bdtrc(self.agreeing(difference) - 1, self.patients, 0.5)))

    def end(self, difference: float) -> float:
        """Return the end of the difference's 95 % interval on zero's side, by Clopper and Pearson (Biometrika 1934).

        It is that of the share of these patients whom the difference goes with, as if all weighed the same; beyond zero
        exactly where the p-value is not below 0.05.

        Example:
            >>> round(Disagreement(patients=5, more=0).end(-10.64), 2)
            0.46
        """
        from scipy.special import betaincinv

        k, n = self.agreeing(difference), self.patients
        lowest = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
        return difference * (2 * lowest - 1) * n / max(2 * k - n, 1)


def disagreement(first: np.ndarray, second: np.ndarray, patients: np.ndarray) -> Disagreement:
    """Count the patients on whom two trainings, or the means of several, disagree.

    Args:
        first: (S, N) events (1 / 0) or numbers, a row a training; NaN: the image does not count.
        second: (T, N) the same.
        patients: (N,) integers 0 ... P - 1, the images' patients.

    Example:
        The first patient gains one image and loses one, the second gains two, the third loses one.

        >>> first, second = np.array([[0.0, 1, 0, 0, 1]]), np.array([[1.0, 0, 1, 1, 0]])
        >>> disagreement(first, second, np.array([0, 0, 1, 1, 2]))
        Disagreement(patients=2, more=1)
    """
    known = [~np.isnan(rows) for rows in (first, second)]
    same_images = all((rows == known[0][0]).all() for rows in known)
    before, after = _means(first), _means(second)

    # by the patient's net difference, or by any, where images count in one of the two alone
    single = len(first) == len(second) == 1
    if single and same_images and np.isin(np.concatenate([before, after]), (0, 1)).all():
        net = np.bincount(patients, after - before)
        return Disagreement(int((net != 0).sum()), int((net > 0).sum()))
    return Disagreement(len(np.unique(patients[images_apart(first, second)])), None)


def images_apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return which images two trainings, or the means of several, disagree on: (N,) bool.

    An image that counts in one of the two alone is one of them.

    Args:
        first: (S, N) as in :func:`disagreement`.
        second: (T, N) the same.

    Example:
        The second training of the first configuration says nothing of the first image, and none of it of the last.

        >>> first, second = np.array([[1.0, 0, 0, np.nan], [np.nan, 0, 1, np.nan]]), np.array([[1.0, 0, 1, 0]])
        >>> images_apart(first, second).tolist()
        [False, False, True, True]
    """
    counted = [(~np.isnan(rows)).any(axis=0) for rows in (first, second)]
    return ~np.isclose(_means(first), _means(second)) | (counted[0] != counted[1])


def _means(rows: np.ndarray) -> np.ndarray:
    """Return each image's mean over the trainings in which it counts; 0 where it counts in none."""
    return np.nan_to_num(rows).sum(axis=0) / np.maximum((~np.isnan(rows)).sum(axis=0), 1)
