"""A network's decisions on the pairs as columns: 1 positive, 0 negative, NaN where it gave no probability."""

from __future__ import annotations

from math import nan

import numpy as np

from covidmt.evaluation.result import Evaluated


def decides(subject: Evaluated, column: str = "p_original") -> np.ndarray:
    """(N,) The decisions by a column of probabilities."""
    p = subject.table[column].to_numpy(float)
    return np.where(np.isnan(p), nan, p >= subject.answers.decision.threshold)


def differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) 1 where two decisions differ, NaN where one is missing."""
    return np.where(np.isnan(first + second), nan, first != second)


def flips(subject: Evaluated, column: str = "p_received") -> np.ndarray:
    """(N,) 1 where the decision is not that on the original."""
    return differ(decides(subject), decides(subject, column))
