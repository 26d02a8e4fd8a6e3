"""Two configurations on the same image pairs: the table of a run's pairs, and McNemar's exact test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# One row a pair of a run's ``robustness/test_pairs.csv``. ``label`` 1 / 0, blank = unknown; ``p_``: probability of the
# decision's label, blank where the network gave none; ``iol_``: in [0, 1], blank where it is undefined.
PAIR_COLUMNS = ["id", "patient", "label", "p_original", "p_received", "iol_original", "iol_received"]


class McNemar(NamedTuple):
    """Exact McNemar test.

    Attributes:
        only_first: Pairs with the event under the first configuration alone.
        only_second: ... under the second alone.
        p: Two-sided p-value.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Does an event (a flip, say) come up as often under both? McNemar (1947) in its exact, binomial form.

    Args:
        first: (N,) float, 1 = event, 0 = none, NaN = undefined, which leaves the pair out.
        second: The same of the other configuration, pair by pair.
    """
    from scipy.stats import binomtest

    only_first, only_second = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    discordant = only_first + only_second
    return McNemar(only_first, only_second, float(binomtest(only_first, discordant).pvalue) if discordant else 1.0)


def merge_p(values: Sequence[float]) -> float:
    """One p-value for several of the same hypothesis, however they depend on each other: twice their mean.

    Seeds are tested on the same images, so their p-values are not independent (Vovk & Wang, Biometrika 2020).
    """
    return values[0] if len(values) == 1 else min(1.0, 2 * float(np.mean(values)))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979), in the order given; NaN stays and is not counted."""
    p = np.asarray(values, float)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(order), 0, -1)))
    return adjusted.tolist()
