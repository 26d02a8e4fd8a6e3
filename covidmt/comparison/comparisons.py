"""Is one configuration more stable than another, by how much, and how sure is that? On the same pairs, over seeds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np
from scipy.stats import ttest_ind

from covidmt.comparison.configurations import ROBUSTNESS, Configuration
from covidmt.comparison.trained_runs import TrainedRun
from covidmt.pages.numbers import relative_change
from metrics.inference.differences import FEW_PATIENTS, LIKELY, paired_difference, verdict
from metrics.intervals import Estimate, share_interval
from metrics.paired import SIDES, flips, holm, out_of_lungs

# What an interval and a p-value speak of.
CONFIGURATIONS, TRAININGS, IMAGES = "patients and seeds", "patients, of these trainings", "seeds, on these images"


@dataclass(frozen=True)
class Comparison:
    """Second configuration against the first.

    Attributes:
        score: ``pi``, ``ols_original`` or ``ols_received``.
        first: What it is compared with.
        second: What is compared.
        values: The first's mean over seeds, and the second's, percent; with tables of pairs on those that all have.
        low: 95 % interval of the difference; NaN where it cannot be told.
        high: Its upper end.
        basis: What interval and p are about: other patients and seeds; other patients of these very trainings, where
            one of the two has a single seed; other seeds on these very images, without tables of pairs; or empty.
        patients: Number of patients; of a comparison without tables of pairs 0.
        p: Of no difference, for the same question as the interval; NaN where it cannot be told, as with fewer than 20
            patients.
        p_adjusted: Adjusted for the number of comparisons in the same table (Holm).
        family: That table, in words.

    Example:
        >>> from covidmt.comparison.comparisons import TRAININGS, Comparison
        >>> row = Comparison("pi", None, None, (7.0, 4.2), -4.5, -1.1, TRAININGS, patients=200, p_adjusted=0.001)
        >>> round(row.difference, 1), round(row.relative), row.verdict
        (-2.8, -40, 'these trainings only')
    """

    score: str
    first: Configuration
    second: Configuration
    values: tuple[float, float]
    low: float = nan
    high: float = nan
    basis: str = ""
    patients: int = 0
    p: float = nan
    p_adjusted: float = nan
    family: str = ""

    @property
    def difference(self) -> float:
        """Second's mean minus the first's, percentage points; negative: the second is better."""
        return self.values[1] - self.values[0]

    @property
    def relative(self) -> float:
        """The difference in percent of the first's value; NaN where either is 0."""
        return relative_change(*self.values)

    @property
    def verdict(self) -> str:
        """One of :data:`metrics.inference.differences.VERDICTS`.

        Without tables of pairs no more than ``likely``, and of OLS too: the rule was tried for PI (docs/statistics.md).
        """
        if self.basis == IMAGES and not isnan(self.p_adjusted):
            return "likely" if self.p_adjusted < LIKELY else "not shown"  # it tells nothing of other patients
        seeds = min(len(self.first.runs), len(self.second.runs)) if self.basis == CONFIGURATIONS else 1
        said = verdict(self.p_adjusted, seeds, self.patients)
        return "likely" if said == "clear" and self.score != "pi" else said


class PairedResults:
    """What every run did on every pair that all runs have.

    Args:
        configurations: Those without tables of pairs take no part.

    Attributes:
        n_pairs: Pairs that all runs have.
        n_patients: Their patients.
        left_out: Pairs that some run lacks.
    """

    def __init__(self, configurations: Sequence[Configuration]) -> None:
        # the pairs that all runs have
        tables = {run.run_id: run.pairs for c in configurations for run in c.runs if run.pairs is not None}
        indices = [set(table.index) for table in tables.values()]
        ids = sorted(set.intersection(*indices)) if indices else []
        self.n_pairs, self.left_out = len(ids), len(set().union(*indices)) - len(ids)
        self.n_patients, self._patients = 0, np.zeros(0, int)
        if ids:
            names, self._patients = np.unique(next(iter(tables.values())).loc[ids, "patient"], return_inverse=True)
            self.n_patients = len(names)

        # what happened on each of them
        runs = [run for c in configurations for run in c.runs if run.run_id in tables]
        self.events = {run.run_id: _events(run, ids) for run in runs if ids}

    def compare(self, score: str, first: Configuration, second: Configuration) -> Comparison | None:
        """Return the comparison on the same pairs; None: a run has no table of pairs."""
        events = [self._events_of(configuration, score) for configuration in (first, second)]
        if events[0] is None or events[1] is None:
            return None
        row = paired_difference(events[0], events[1], self._patients, scale=100)
        means = [100 * float(np.nanmean(rows, axis=1).mean()) for rows in (events[0], events[1])]
        return Comparison(
            score, first, second, (means[0], means[1]),
            low=row.low, high=row.high, p=nan if row.patients < FEW_PATIENTS else row.p, patients=row.patients,
            basis="" if isnan(row.low) else CONFIGURATIONS if row.seeds > 1 else TRAININGS,
        )  # fmt: skip

    def interval(self, configuration: Configuration, score: str) -> Estimate | None:
        """Return a score with its interval over patients and seeds; None: a run has no table of pairs."""
        events = self._events_of(configuration, score)
        return None if events is None else share_interval(events, self._patients, scale=100)

    def _events_of(self, configuration: Configuration, score: str) -> np.ndarray | None:
        """(seeds, pairs): 1 / 0 / NaN."""
        if not all(run.run_id in self.events for run in configuration.runs):
            return None
        rows = np.stack([self.events[run.run_id][ROBUSTNESS.index(score)] for run in configuration.runs])
        return None if np.isnan(rows).all(axis=1).any() else rows


def compare(
    couples: Sequence[tuple[Configuration, Configuration]], paired: PairedResults, family: str = ""
) -> list[Comparison]:
    """Compare (first, second) couples on every robustness score both have; one table, so Holm over its couples."""
    table = []
    for score in ROBUSTNESS:
        shared = [couple for couple in couples if all(score in c.scores for c in couple)]
        rows = [paired.compare(score, *couple) or _compare_seeds(score, *couple) for couple in shared]
        adjusted = holm([row.p for row in rows])
        table += [replace(row, p_adjusted=p, family=family) for row, p in zip(rows, adjusted, strict=True)]
    return table


def with_pair_intervals(configuration: Configuration) -> Configuration:
    """Return a configuration whose PI and OLS have intervals over the patients of its tables of pairs, and over seeds.

    With one seed they are of this training, for other patients. Scores without such tables keep Student's over seeds.
    """
    paired, scores = PairedResults([configuration]), dict(configuration.scores)
    for score in set(ROBUSTNESS) & scores.keys():
        estimate = paired.interval(configuration, score)
        if estimate is not None and np.isclose(estimate.value, scores[score].value, atol=1e-3):
            scores[score] = scores[score]._replace(low=estimate.low, high=estimate.high)
    return replace(configuration, scores=scores)


def _compare_seeds(score: str, first: Configuration, second: Configuration) -> Comparison:
    """Compare by the seeds' scores alone (Welch), where there are no tables of pairs."""
    a, b = first.scores[score], second.scores[score]
    row = Comparison(score, first, second, (a.value, b.value))
    if min(len(a.values), len(b.values)) < 2 or not (np.ptp(a.values) or np.ptp(b.values)):
        return row
    with warnings.catch_warnings(action="ignore"):  # of seeds that are all equal
        test = ttest_ind(b.values, a.values, equal_var=False)
    low, high = (float(end) for end in test.confidence_interval(0.95))
    return replace(row, low=max(low, -100.0), high=min(high, 100.0), basis=IMAGES, p=float(test.pvalue))


def _events(run: TrainedRun, ids: list[str]) -> np.ndarray:
    """(3, N): the answer changes; the original's, the received image's saliency is out of the lungs; 1 / 0 / NaN."""
    assert run.pairs is not None
    table = run.pairs.loc[ids]
    changed = flips(table["positive_original"].to_numpy(), table["positive_received"].to_numpy())
    outside = (out_of_lungs(table[f"iol_{side}"].to_numpy(), run.robustness.eta) for side in SIDES)
    return np.stack([changed, *outside])
