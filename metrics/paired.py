"""Two configurations on the same image pairs: the table of a run's pairs, and McNemar's exact test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDES = ("original", "received")  # a pair's image as it was sent, and as the phone got it

# A run's tables of pairs; of validations one an epoch.
TEST_PAIRS, VAL_PAIRS = "robustness/test_pairs.csv", "robustness/val_pairs/{:03d}.csv"

# Their columns, a row for each pair. ``label``: 1 / 0, blank = unknown. ``p_``: probability of the decision's label in
# [0, 1], blank where the network gave none. ``iol_``: in [0, 1], blank where it is undefined.
PAIR_COLUMNS = ["id", "patient", "label", *(f"p_{side}" for side in SIDES), *(f"iol_{side}" for side in SIDES)]


def flips(before: np.ndarray, after: np.ndarray, threshold: float) -> np.ndarray:
    """Return which decisions differ: 1 where one is positive and the other is not, 0 elsewhere.

    COVIDMT paper, section "The prediction instability problem", Eq. 1. A decision is positive where the probability is
    at least the threshold, in the networks' own precision, float32.

    Args:
        before: (N,) probabilities in [0, 1]; NaN where the network gave none.
        after: (N,) the same of the received images, or of another network.
        threshold: Of the decision, in (0, 1).

    Returns:
        (N,) float64: 1, 0, or NaN where either probability is missing.

    Example:
        >>> flips(np.array([0.9, 0.5, 0.2]), np.array([0.4, 0.6, np.nan]), threshold=0.5)
        array([ 1.,  0., nan])
    """
    before, after = np.asarray(before, np.float32), np.asarray(after, np.float32)
    changed = (before >= np.float32(threshold)) != (after >= np.float32(threshold))
    return np.where(np.isnan(before) | np.isnan(after), np.nan, changed)


def out_of_lungs(iol: np.ndarray, eta: float) -> np.ndarray:
    """Return whose saliency is out of the lungs: 1 where the IOL is below eta, 0 elsewhere.

    COVIDMT paper, section "Out of lung saliency score", Eq. 4; compared in float32, the precision of the IOL.

    Args:
        iol: (N,) shares of the heat-map region inside the lungs, in [0, 1]; NaN where it is undefined.
        eta: In [0, 1].

    Returns:
        (N,) float64: 1, 0, or NaN where the IOL is undefined.

    Example:
        >>> out_of_lungs(np.array([0.1, 0.4, np.nan]), eta=0.4)
        array([ 1.,  0., nan])
    """
    iol = np.asarray(iol, np.float32)
    return np.where(np.isnan(iol), np.nan, iol < np.float32(eta))


class McNemar(NamedTuple):
    """Result of the exact McNemar test.

    Attributes:
        first: Pairs with the event under the first configuration alone (several seeds: in more of its seeds).
        second: ... under the second.
        p: Two-sided p-value in [0, 1].
    """

    first: int
    second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Test whether an event (a flip, say) is as frequent under both configurations.

    McNemar (Psychometrika 1947) in its exact, binomial form. Several seeds of a configuration are not independent, for
    they see the same images. So a pair counts once, for the configuration in more of whose seeds it has the event: the
    sign test, which for one seed is McNemar's. Both need equally many seeds: the more there are, the rarer is a tie.

    Args:
        first: (seeds, N) float, 1 = event, 0 = none, NaN = undefined, which leaves the pair out.
        second: The same of the other configuration, pair by pair.

    Raises:
        ValueError: Different shapes.

    Example:
        Four pairs flip under the first configuration alone, none under the second: p = 2 / 2^4.

        >>> mcnemar(np.array([[1.0, 1, 1, 1, 0]]), np.array([[0.0, 0, 0, 0, 0]]))
        McNemar(first=4, second=0, p=0.125)
    """
    from scipy.stats import binomtest

    if first.shape != second.shape:
        raise ValueError(f"equally many seeds and pairs are needed, not {first.shape} and {second.shape}")
    difference = first.sum(axis=0) - second.sum(axis=0)
    counts = int((difference > 0).sum()), int((difference < 0).sum())
    return McNemar(*counts, float(binomtest(counts[0], sum(counts)).pvalue) if sum(counts) else 1.0)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, Scand J Stat 1979), in the order given.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one before it, and
    none exceeds 1. NaN stays NaN and is not counted.

    Example:
        >>> holm([0.25, 0.125, float("nan"), 0.03125])
        [0.25, 0.25, nan, 0.09375]
    """
    p = np.asarray(values, float)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(order), 0, -1)))
    return adjusted.tolist()
