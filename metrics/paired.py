"""A run's table of image pairs, which of them flip or look outside the lungs, and p-values for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDES = ("original", "received")  # a pair's image as it was sent, and as the phone got it

# A run's tables of pairs; of validations one an epoch.
TEST_PAIRS, VAL_PAIRS = "robustness/test_pairs.csv", "robustness/val_pairs/{:03d}.csv"

# Their columns, a row for each pair. ``label``: 1 / 0, blank = unknown. ``p_``: probability of the decision's label in
# [0, 1], blank where the network gave none. ``positive_``: the decision, 1 / 0, blank where there is none. ``iol_``: in
# [0, 1], blank where it is undefined.
PAIR_COLUMNS = ["id", "patient", "label", *(f"{name}_{side}" for name in ("p", "positive", "iol") for side in SIDES)]


def decide(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Return the decisions of the rule ``threshold``: 1 where the probability reaches it, 0 where it does not.

    Compared in float32, the networks' own precision.

    Args:
        probability: (N,) in [0, 1]; NaN where the network gave none.
        threshold: In (0, 1).

    Returns:
        (N,) float64: 1, 0 or NaN.

    Example:
        >>> decide(np.array([0.9, 0.5, 0.2, np.nan]), threshold=0.5)
        array([ 1.,  1.,  0., nan])
    """
    p = np.asarray(probability, np.float32)
    return np.where(np.isnan(p), np.nan, p >= np.float32(threshold))


def flips(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return which decisions differ: 1 where one is positive and the other is not, 0 elsewhere.

    COVIDMT paper, section "The prediction instability problem", Eq. 1.

    Args:
        before: (N,) decisions, 1 / 0; NaN where there is none.
        after: (N,) the same on the received images, or of another network.

    Returns:
        (N,) float64: 1, 0, or NaN where either decision is missing.

    Example:
        >>> flips(np.array([1, 1, 0]), np.array([0, 1, np.nan]))
        array([ 1.,  0., nan])
    """
    before, after = np.asarray(before, float), np.asarray(after, float)
    return np.where(np.isnan(before) | np.isnan(after), np.nan, before != after)


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
