"""Is one configuration more stable than another, by how much, and how sure is that? On the same pairs, over seeds."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from covidmt.comparison.configurations import ROBUSTNESS, Configuration
from covidmt.comparison.trials import Trial
from metrics.bootstrap import PatientBootstrap
from metrics.intervals import wilson
from metrics.paired import SIDES, holm, mcnemar

ALPHA = 0.05
RESAMPLES = 2000


@dataclass
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
        sure = [self.low > 0 or self.high < 0, self.p_adjusted < ALPHA]
        if "seeds" in self.basis and not sure[0]:
            return "not shown"
        return ("not shown", "likely", "clear")[sum(sure)]


class PairedResults:
    """What every trial did on every pair that all trials have.

    Args:
        found: The configurations; those without tables of pairs take no part.

    Attributes:
        n_pairs: Pairs that all trials have.
        n_patients: Their patients.
        left_out: Pairs that some trial lacks.
    """

    def __init__(self, found: Sequence[Configuration]) -> None:
        trials = [trial for c in found for trial in c.trials if trial.pairs is not None]
        tables = [trial.pairs.index for trial in trials if trial.pairs is not None]
        ids = sorted(set.intersection(*map(set, tables))) if tables else []
        self.n_pairs, self.left_out = len(ids), len(set().union(*tables)) - len(ids)
        self.events = {trial.run_id: _events(trial, ids) for trial in trials if ids}
        self.n_patients = 0
        self._drawn: dict[tuple[str, str], np.ndarray] = {}
        if not ids:
            return
        assert trials[0].pairs is not None
        bootstrap = PatientBootstrap(trials[0].pairs.loc[ids, "patient"].to_numpy(), RESAMPLES)
        self.n_patients = bootstrap.n_patients
        for row, score in enumerate(ROBUSTNESS):
            events = np.stack([self.events[trial.run_id][row] for trial in trials])
            happened, defined = np.nan_to_num(events), (~np.isnan(events)).astype(float)
            with np.errstate(invalid="ignore"):
                values = bootstrap.values(lambda w, h=happened, d=defined: 100 * (w @ h.T) / (w @ d.T))
            self._drawn |= {(score, trial.run_id): column for trial, column in zip(trials, values.T, strict=True)}

    def drawn(self, configuration: Configuration, score: str, freedom: int) -> np.ndarray | None:
        """The mean over seeds for every draw of patients and seeds, (1 + resamples,); the first is what was measured.

        Seeds are drawn with replacement and their spread enlarged by sqrt(n / (n - 1)), the factor by which a bootstrap
        of n underestimates it, and by Student's quantile over the normal one, for the degrees of freedom that the two
        configurations of a comparison have together.
        """
        rows = [self._drawn.get((score, trial.run_id)) for trial in configuration.trials]
        if any(row is None for row in rows):
            return None
        values = np.array(rows)
        n, draws = values.shape
        mean = values.mean(axis=0)
        if n > 1:
            chosen = np.random.default_rng(zlib.crc32(configuration.label.encode())).integers(n, size=(n, draws))
            chosen[:, 0] = np.arange(n)
            wider = sqrt(n / (n - 1)) * student.ppf(1 - ALPHA / 2, freedom) / norm.ppf(1 - ALPHA / 2)
            mean = mean + wider * (np.take_along_axis(values, chosen, axis=0).mean(axis=0) - mean)
        return mean


def compare(couples: Sequence[tuple[Configuration, Configuration]], paired: PairedResults) -> list[Comparison]:
    """Compare (first, second) couples on every robustness score both have; one table, so Holm over its couples."""
    table = []
    for score in ROBUSTNESS:
        rows = [_compare(score, *couple, paired) for couple in couples if all(score in c.scores for c in couple)]
        for row, adjusted in zip(rows, holm([row.p for row in rows]), strict=True):
            row.p_adjusted = adjusted
        table += rows
    return table


def _compare(score: str, first: Configuration, second: Configuration, paired: PairedResults) -> Comparison:
    a, b = first.scores[score], second.scores[score]
    result = Comparison(score, first, second, (a.value, b.value))
    freedom = len(first.trials) + len(second.trials) - 2
    draws = paired.drawn(first, score, freedom), paired.drawn(second, score, freedom)
    if draws[0] is not None and draws[1] is not None:
        result.values = (float(draws[0][0]), float(draws[1][0]))
        difference = draws[1] - draws[0]
        result.low, result.high = np.nanpercentile(difference[1:], [2.5, 97.5]).tolist()
        if result.low == result.high:  # the same in every draw, as where no pair ever changes: that is no certainty
            half = 100 * wilson(0, paired.n_patients)[1]
            result.low, result.high = result.low - half, result.high + half
        several = (len(a.values) > 1) + (len(b.values) > 1)
        result.basis = ("patients", "patients and the seeds of one", "patients and seeds")[several]
        row = ROBUSTNESS.index(score)
        matched = _match(first.trials, second.trials)
        test = mcnemar(*(np.stack([paired.events[trial.run_id][row] for trial in side]) for side in matched))
        result.discordant, result.p = (test.first, test.second), test.p
    elif min(len(a.values), len(b.values)) > 1 and (np.ptp(a.values) or np.ptp(b.values)):
        from scipy.stats import ttest_ind

        with warnings.catch_warnings(action="ignore"):  # of seeds that are all equal
            test = ttest_ind(b.values, a.values, equal_var=False)
        result.low, result.high = (float(end) for end in test.confidence_interval(1 - ALPHA))
        result.basis, result.p = "seeds", float(test.pvalue)
    return result


def _match(first: list[Trial], second: list[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Equally many trials of both: the seeds they share; where they share none, the first ones."""
    shared = [trial.seed for trial in first if trial.seed in {other.seed for other in second}]
    if shared:
        return [t for t in first if t.seed in shared], [t for t in second if t.seed in shared]
    n = min(len(first), len(second))
    return first[:n], second[:n]


def _events(trial: Trial, ids: list[str]) -> np.ndarray:
    """(3, N): the answer changes; the original's, the received image's saliency is out of the lungs; 1 / 0 / NaN."""
    assert trial.pairs is not None
    table = trial.pairs.loc[ids]
    before, after = (table[f"p_{side}"].to_numpy(float) for side in SIDES)
    threshold, eta = trial.robustness.threshold, trial.robustness.eta
    flips = np.where(np.isnan(before + after), np.nan, (before >= threshold) != (after >= threshold))
    iols = (table[f"iol_{side}"].to_numpy(float) for side in SIDES)
    return np.stack([flips, *(np.where(np.isnan(iol), np.nan, iol < eta) for iol in iols)])
