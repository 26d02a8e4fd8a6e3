"""Ways to do a thing, timed in turns: a shared machine's speed drifts, so only times of the same round are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import binom


def rounds(
    ways: Mapping[str, Callable[[], object]], runs: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round to warm up.

    Args:
        ways: Name -> what to time.
        runs: Rounds.
        clock: The default counts this process's own CPU time, in all its threads: other programs do not enter it.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if run:
                times[name].append(clock() - start)
    return times


def ratio(times: dict[str, list[float]], way: str, other: str) -> str:
    """How many times as long the one takes as the other: median over the rounds, and the median's 95 % interval."""
    return interval([a / b for a, b in zip(times[way], times[other], strict=True)])


def interval(values: list[float], form: str = ".2f") -> str:
    """Median with its 95 % interval (order statistics)."""
    ordered = np.sort(values)
    low = max(int(binom.ppf(0.025, len(ordered), 0.5)) - 1, 0)
    return f"{statistics.median(values):{form}} ({ordered[low]:{form}}-{ordered[-1 - low]:{form}})"
