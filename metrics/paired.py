"""Two configurations on the same image pairs: the table of a run's pairs, and McNemar's exact test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDES = ("original", "received")  # the image of a pair that was sent, and the one that the phone got

# A run's tables of pairs; of validations one an epoch.
TEST_PAIRS, VAL_PAIRS = "robustness/test_pairs.csv", "robustness/val_pairs/{:03d}.csv"
# One row a pair of them. ``label`` 1 / 0, blank = unknown; ``p_``: probability of the
# decision's label, blank where the network gave none; ``iol_``: in [0, 1], blank where it is undefined.
PAIR_COLUMNS = ["id", "patient", "label", "p_original", "p_received", "iol_original", "iol_received"]


class McNemar(NamedTuple):
    """Exact McNemar test.

    Attributes:
        first: Pairs with the event under the first configuration alone (several seeds: in more of its seeds).
        second: ... under the second.
        p: Two-sided p-value.
    """

    first: int
    second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Does an event (a flip, say) come up as often under both? McNemar (1947) in its exact, binomial form.

    Several seeds of a configuration are not independent, for they see the same images. So a pair counts once, for the
    configuration in more of whose seeds it has the event: the sign test, which for one seed is McNemar's. Both need
    equally many seeds: the more there are, the rarer is a tie.

    Args:
        first: (seeds, N) float, 1 = event, 0 = none, NaN = undefined, which leaves the pair out.
        second: The same of the other configuration, pair by pair.

    Raises:
        ValueError: Different shapes.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape:
        raise ValueError(f"equally many seeds and pairs are needed, not {first.shape} and {second.shape}")
    difference = first.sum(axis=0) - second.sum(axis=0)
    counts = int((difference > 0).sum()), int((difference < 0).sum())
    return McNemar(*counts, float(binomtest(counts[0], sum(counts)).pvalue) if sum(counts) else 1.0)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979), in the order given; NaN stays and is not counted."""
    p = np.asarray(values, float)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(order), 0, -1)))
    return adjusted.tolist()
