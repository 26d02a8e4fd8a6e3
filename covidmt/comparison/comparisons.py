"""Is one configuration more stable than another, by how much, and how sure is that? On the same pairs, over seeds."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np
from scipy.stats import norm, ttest_ind
from scipy.stats import t as student

from covidmt.comparison.configurations import ROBUSTNESS, Configuration
from covidmt.comparison.trained_runs import TrainedRun
from metrics.bootstrap import PatientBootstrap
from metrics.intervals import wilson
from metrics.paired import SIDES, flips, holm, mcnemar, out_of_lungs

ALPHA = 0.05
RESAMPLES = 2000


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
        basis: What the interval was drawn from: ``patients and seeds``, ``patients and the seeds of one`` (the other
            has a single one), ``patients``, ``seeds``; or empty.
        discordant: Pairs with the event in more seeds of the first, and in more of the second; None without tables.
        p: McNemar's, or Welch's without tables; NaN where it cannot be told.
        p_adjusted: Adjusted for the number of comparisons in the same table (Holm).

    Example:
        >>> from covidmt.comparison.comparisons import Comparison
        >>> interval = {"low": -4.5, "high": -1.1, "basis": "patients"}
        >>> row = Comparison("pi", None, None, values=(7.0, 4.2), p_adjusted=0.01, **interval)
        >>> round(row.difference, 1), round(row.relative), row.verdict
        (-2.8, -40, 'clear')
    """

    score: str
    first: Configuration
    second: Configuration
    values: tuple[float, float]
    low: float = nan
    high: float = nan
    basis: str = ""
    discordant: tuple[int, int] | None = None
    p: float = nan
    p_adjusted: float = nan

    @property
    def difference(self) -> float:
        """Second's mean minus the first's, percentage points; negative: the second is better."""
        return self.values[1] - self.values[0]

    @property
    def relative(self) -> float:
        """The difference in percent of the first's value; NaN where that is 0."""
        return 100 * self.difference / self.values[0] if self.values[0] else nan

    @property
    def verdict(self) -> str:
        """``clear``: interval and test agree; ``likely``: one of them; ``not shown``; ``unknown``: neither is there.

        McNemar's test knows nothing of what another training would give: where there are seeds to tell, the interval
        must leave out zero.
        """
        if np.isnan(self.low) and np.isnan(self.p_adjusted):
            return "unknown"
        excludes_zero = self.low > 0 or self.high < 0
        significant = self.p_adjusted < ALPHA
        if "seeds" in self.basis and not excludes_zero:
            return "not shown"
        return ("not shown", "likely", "clear")[excludes_zero + significant]


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

        # what happened on each of them
        runs = [run for c in configurations for run in c.runs if run.run_id in tables]
        self.events = {run.run_id: _events(run, ids) for run in runs if ids}
        self.n_patients = 0
        self._draws: dict[tuple[str, str], np.ndarray] = {}
        if not ids:
            return

        # each run's scores for every draw of patients, the same patients for all runs
        bootstrap = PatientBootstrap(tables[runs[0].run_id].loc[ids, "patient"].to_numpy(), RESAMPLES)
        self.n_patients = bootstrap.n_patients
        for row, score in enumerate(ROBUSTNESS):
            events = np.stack([self.events[run.run_id][row] for run in runs])
            happened, defined = np.nan_to_num(events), (~np.isnan(events)).astype(float)
            with np.errstate(invalid="ignore"):
                values = bootstrap.values(lambda w, h=happened, d=defined: 100 * (w @ h.T) / (w @ d.T))
            self._draws |= {(score, run.run_id): column for run, column in zip(runs, values.T, strict=True)}

    def draw_means(self, configuration: Configuration, score: str, freedom: int) -> np.ndarray | None:
        """Return the mean over seeds for every draw of patients and seeds; None: a run has no table of pairs.

        Seeds are drawn with replacement and their spread enlarged by sqrt(n / (n - 1)), the factor by which a bootstrap
        of n underestimates it, and by Student's quantile over the normal one, for the degrees of freedom that the two
        configurations of a comparison have together.

        Returns:
            (1 + resamples,) percent; the first is what was measured.
        """
        if any((score, run.run_id) not in self._draws for run in configuration.runs):
            return None
        values = np.array([self._draws[score, run.run_id] for run in configuration.runs])
        n, draws = values.shape
        mean = values.mean(axis=0)
        if n == 1:
            return mean

        # the spread over seeds, beside that over patients
        chosen = np.random.default_rng(zlib.crc32(configuration.label.encode())).integers(n, size=(n, draws))
        chosen[:, 0] = np.arange(n)
        wider = sqrt(n / (n - 1)) * student.ppf(1 - ALPHA / 2, freedom) / norm.ppf(1 - ALPHA / 2)
        return mean + wider * (np.take_along_axis(values, chosen, axis=0).mean(axis=0) - mean)


def compare(couples: Sequence[tuple[Configuration, Configuration]], paired: PairedResults) -> list[Comparison]:
    """Compare (first, second) couples on every robustness score both have; one table, so Holm over its couples."""
    table = []
    for score in ROBUSTNESS:
        rows = [_compare(score, *couple, paired) for couple in couples if all(score in c.scores for c in couple)]
        adjusted = holm([row.p for row in rows])
        table += [replace(row, p_adjusted=p) for row, p in zip(rows, adjusted, strict=True)]
    return table


def _compare(score: str, first: Configuration, second: Configuration, paired: PairedResults) -> Comparison:
    freedom = len(first.runs) + len(second.runs) - 2
    first_draws = paired.draw_means(first, score, freedom)
    second_draws = paired.draw_means(second, score, freedom)
    if first_draws is None or second_draws is None:
        return _compare_seeds(score, first, second)

    # the interval, over patients and whatever seeds there are
    low, high = np.nanpercentile((second_draws - first_draws)[1:], [2.5, 97.5]).tolist()
    if low == high:  # the same in every draw, as where no pair ever changes: that is no certainty
        half = 100 * wilson(0, paired.n_patients)[1]
        low, high = low - half, high + half
    several = (len(first.runs) > 1) + (len(second.runs) > 1)

    # the test, over the seeds that both have
    row = ROBUSTNESS.index(score)
    matched = _match_seeds(first.runs, second.runs)
    test = mcnemar(*(np.stack([paired.events[run.run_id][row] for run in side]) for side in matched))
    return Comparison(
        score,
        first,
        second,
        values=(float(first_draws[0]), float(second_draws[0])),
        low=low,
        high=high,
        basis=("patients", "patients and the seeds of one", "patients and seeds")[several],
        discordant=(test.first, test.second),
        p=test.p,
    )


def _compare_seeds(score: str, first: Configuration, second: Configuration) -> Comparison:
    """Compare by the seeds' scores alone (Welch), where there are no tables of pairs."""
    a, b = first.scores[score], second.scores[score]
    row = Comparison(score, first, second, (a.value, b.value))
    if min(len(a.values), len(b.values)) < 2 or not (np.ptp(a.values) or np.ptp(b.values)):
        return row
    with warnings.catch_warnings(action="ignore"):  # of seeds that are all equal
        test = ttest_ind(b.values, a.values, equal_var=False)
    low, high = (float(end) for end in test.confidence_interval(1 - ALPHA))
    return replace(row, low=low, high=high, basis="seeds", p=float(test.pvalue))


def _match_seeds(first: list[TrainedRun], second: list[TrainedRun]) -> tuple[list[TrainedRun], list[TrainedRun]]:
    """Return equally many runs of both: the seeds they share; where they share none, the first ones."""
    shared = {run.seed for run in first} & {run.seed for run in second}
    if shared:
        return [run for run in first if run.seed in shared], [run for run in second if run.seed in shared]
    n = min(len(first), len(second))
    return first[:n], second[:n]


def _events(run: TrainedRun, ids: list[str]) -> np.ndarray:
    """(3, N): the answer changes; the original's, the received image's saliency is out of the lungs; 1 / 0 / NaN."""
    assert run.pairs is not None
    table = run.pairs.loc[ids]
    changed = flips(table["p_original"].to_numpy(), table["p_received"].to_numpy(), run.robustness.threshold)
    outside = (out_of_lungs(table[f"iol_{side}"].to_numpy(), run.robustness.eta) for side in SIDES)
    return np.stack([changed, *outside])
