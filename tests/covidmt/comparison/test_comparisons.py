"""Differences, intervals and verdicts on the same pairs and over seeds, by hand."""

import numpy as np
import pandas as pd
import pytest

from covidmt.comparison.analysis import analyse
from covidmt.comparison.comparisons import CONFIGURATIONS, TRAININGS, PairedResults, compare
from covidmt.comparison.configurations import group_configurations
from covidmt.comparison.findings import reservations
from covidmt.comparison.trained_runs import collect_runs
from covidmt.evaluation.scores import mean_score
from metrics.bootstrap import PatientBootstrap
from tests.helpers.sweeps import N, Store, flipped, pairs_table


def test_the_same_pairs_by_hand(store: Store):
    """Ten of forty change against two of the same ten: eight disagree, each 1/40, so D = -0.2, s.e. 0.0641, t(39)."""
    base = store.trial(pairs=flipped(*range(10)))
    many = store.trial(n_tasks=6, pairs=flipped(0, 1))
    made = analyse(collect_runs([base, many], store))
    (pi,) = [row for row in made.against_base if row.score == "pi"]
    assert (pi.first.label, pi.second.label) == ("ResNet-50, 1 task", "ResNet-50, 6 tasks")
    assert pi.difference == pytest.approx(-20)
    assert pi.relative == pytest.approx(-80)
    error = np.sqrt(8 * 0.8**2 + 32 * 0.2**2) / np.sqrt(40 * 39)  # of the eight 0 - 1 + 0.2, of the others 0.2
    assert (pi.low, pi.high) == pytest.approx((-20 - 100 * 2.0227 * error, -20 + 100 * 2.0227 * error), abs=0.01)
    assert pi.p == pi.p_adjusted == pytest.approx(2 * 0.5**8)  # the exact sign test; by t it would be 0.003
    assert (pi.basis, pi.verdict) == (TRAININGS, "these trainings only")
    assert made.paired.n_pairs == made.paired.n_patients == N
    first = pi.first.scores["pi"]  # one seed: over patients alone
    assert (first.low, first.high) == pytest.approx((13.83, 40.91), abs=0.01)
    assert pi.first.scores["pairs_original"].value == 100
    assert pi.first.scores["pairs_received"].value == 75
    assert any("single seed" in text for text in reservations(made))


def test_one_seed_against_several_speaks_of_these_trainings(store: Store):
    """Whatever is found: the single one may be any of its configuration's trainings."""
    runs = [store.trial(pairs=flipped(*range(20)))]
    runs += [store.trial(n_tasks=6, seed=seed, pairs=flipped(*range(n))) for seed, n in enumerate((2, 3, 4))]
    (pi,) = [row for row in analyse(collect_runs(runs, store)).against_base if row.score == "pi"]
    assert pi.difference == pytest.approx(100 * (3 - 20) / 40)
    assert pi.high < 0
    assert pi.p < 0.005
    assert (pi.basis, pi.verdict) == (TRAININGS, "these trainings only")


def test_several_seeds_speak_of_configurations(store: Store):
    """With three seeds of each and 50 patients the same difference is clear, with fewer likely; every seed alike."""
    for seeds, n, said in ((2, 60, "likely"), (3, 40, "likely"), (3, 60, "clear")):

        def changed(*which: int, n: int = n) -> pd.DataFrame:
            return pairs_table(*[np.isin(np.arange(n), which)] * 3)

        runs = [store.trial(seed=seed, pairs=changed(*range(seed, 20 + seed))) for seed in range(seeds)]
        runs += [store.trial(n_tasks=6, seed=seed, pairs=changed(seed, 1 + seed)) for seed in range(seeds)]
        pi, *saliency = analyse(collect_runs(runs, store)).against_base
        assert (pi.score, pi.basis, pi.verdict) == ("pi", CONFIGURATIONS, said)
        assert [row.verdict for row in saliency] == ["likely", "likely"]  # the rule was not tried for OLS


def test_an_interval_over_seeds_is_wider_and_patients_stay_together(store: Store):
    events = {(n, seed): np.isin(np.arange(N), range(seed, 12 - n + seed)) for n in (1, 6) for seed in (0, 1, 2)}

    def interval(per_patient: int, seeds: list[int]) -> tuple[float, float]:
        runs = [
            store.trial(n_tasks=n, seed=seed, pairs=pairs_table(*[events[n, seed]] * 3, per_patient=per_patient))
            for n in (1, 6)
            for seed in seeds
        ]
        (row,) = [r for r in analyse(collect_runs(runs, store)).against_base if r.score == "pi"]
        assert row.difference == pytest.approx(-100 * 5 / N)
        return row.low, row.high

    alone, clustered, seeds = interval(1, [0]), interval(4, [0]), interval(1, [0, 1, 2])
    assert clustered[1] - clustered[0] > alone[1] - alone[0]
    assert seeds[0] < -12.5 < seeds[1]


def test_pairs_that_not_all_have_are_left_out(store: Store):
    runs = [store.trial(seed=seed, pairs=flipped(0, 1, 2)) for seed in (0, 1, 2)]
    runs += [store.trial(n_tasks=2, seed=seed, pairs=flipped(3).iloc[:-4]) for seed in (1, 5)]
    found = group_configurations(collect_runs(runs, store))
    paired = PairedResults(found)
    assert (paired.n_pairs, paired.left_out) == (N - 4, 4)
    row = compare([(found[0], found[1])], paired)[0]
    assert row.difference == pytest.approx(100 * (1 - 3) / (N - 4))


def test_no_event_at_all_is_no_certainty(store: Store):
    """Wilson's upper end for none of forty patients is 8.76 %. A training without OLS takes its mean away."""
    runs = [store.trial(n_tasks=n, pairs=flipped()) for n in (1, 6)]
    (pi,) = [row for row in analyse(collect_runs(runs, store)).against_base if row.score == "pi"]
    assert (pi.difference, pi.p, pi.verdict) == (0, 1, "not shown")
    assert (pi.low, pi.high) == pytest.approx((-8.76, 8.76), abs=0.01)
    runs.append(store.trial(seed=1, metrics={"test/pi_score": 1.0}))
    made = analyse(collect_runs(runs, store))
    assert "ols_original" not in made.configurations[0].scores
    assert any("no mean of OLS score, original and OLS score, received" in text for text in reservations(made))


def test_the_difference_is_that_of_the_pairs_which_its_interval_is_of(store: Store):
    """One of forty pairs changes against none, but the first training alone has the pair."""
    runs = [store.trial(pairs=flipped(39)), store.trial(n_tasks=6, pairs=flipped().iloc[:-1])]
    (pi,) = [row for row in analyse(collect_runs(runs, store)).against_base if row.score == "pi"]
    assert pi.first.scores["pi"].value == pytest.approx(2.5)
    assert pi.values == (0, 0)
    assert pi.low < pi.difference == 0 < pi.high


def test_evaluate_and_report_say_the_same_of_the_same_pairs(store: Store):
    """49 pairs of 47 patients, on which they gave different verdicts; any number of answers that change."""
    patients = np.minimum(np.arange(49), 46)
    for first, second in ((range(9), range(2)), (range(3), range(7, 20)), (range(5), range(5)), (range(8), range(0))):
        tables = []
        for events in (first, second):
            flips = np.isin(np.arange(49), events)
            tables.append(pairs_table(flips, flips, flips).assign(patient=[f"p:{i}" for i in patients]))
        runs = [store.trial(n_tasks=n, pairs=table) for n, table in zip((1, 6), tables, strict=True)]
        (row,) = [row for row in analyse(collect_runs(runs, store)).against_base if row.score == "pi"]

        bootstrap = PatientBootstrap(patients.astype(str), 100)
        scores = [mean_score(np.isin(np.arange(49), events), bootstrap) for events in (second, first)]
        difference = scores[0].minus(scores[1])
        assert (difference.value, difference.low, difference.high) == pytest.approx((row.difference, row.low, row.high))
        assert (difference.p, difference.verdict) == (pytest.approx(row.p), row.verdict)
