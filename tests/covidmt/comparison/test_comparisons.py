"""Differences, intervals and verdicts on the same pairs and over seeds, by hand."""

from math import isnan

import numpy as np
import pytest

from covidmt.comparison.analysis import analyse
from covidmt.comparison.comparisons import PairedResults, compare
from covidmt.comparison.configurations import group_configurations
from covidmt.comparison.findings import reservations
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import N, Store, flipped, pairs_table


def test_the_same_pairs_by_hand(store: Store):
    """Ten of forty change against two of the same ten: eight discordant pairs on one side, p = 2 / 2^8."""
    base = store.trial(pairs=flipped(*range(10)))
    many = store.trial(n_tasks=6, pairs=flipped(0, 1))
    made = analyse(collect_runs([base, many], store))
    (pi,) = [row for row in made.against_base if row.score == "pi"]
    assert (pi.first.label, pi.second.label) == ("ResNet-50, 1 task", "ResNet-50, 6 tasks")
    assert pi.difference == pytest.approx(-20)
    assert pi.relative == pytest.approx(-80)
    assert pi.discordant == (8, 0)
    assert pi.p == pi.p_adjusted == pytest.approx(2 / 2**8)
    assert pi.low < -20 < pi.high < 0
    assert (pi.basis, pi.verdict) == ("patients", "clear")
    assert made.paired.n_pairs == made.paired.n_patients == N
    assert isnan(pi.first.scores["pi"].low)  # one seed: no interval over seeds
    assert pi.first.scores["pairs_original"].value == 100
    assert pi.first.scores["pairs_received"].value == 75
    assert any("single seed" in text for text in reservations(made))


def test_one_seed_against_several_is_no_proof_by_the_seed_that_they_share(store: Store):
    """Of forty pairs ten change; in three seeds two (McNemar's p with the first: 2 / 2^8), eighteen and eighteen."""
    runs = [store.trial(pairs=flipped(*range(10)))]
    runs += [store.trial(n_tasks=6, seed=seed, pairs=flipped(*range(n))) for seed, n in enumerate((2, 18, 18))]
    (pi,) = [row for row in analyse(collect_runs(runs, store)).against_base if row.score == "pi"]
    assert pi.difference == pytest.approx(100 * (38 / 3 - 10) / 40)
    assert pi.p_adjusted == pytest.approx(2 / 2**8)
    assert pi.low < 0 < pi.high
    assert (pi.basis, pi.verdict) == ("patients and the seeds of one", "not shown")


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


def test_seeds_are_matched_and_pairs_that_not_all_have_left_out(store: Store):
    runs = [store.trial(seed=seed, pairs=flipped(0, 1, 2)) for seed in (0, 1, 2)]
    runs += [store.trial(n_tasks=2, seed=seed, pairs=flipped(3).iloc[:-4]) for seed in (1, 5)]
    found = group_configurations(collect_runs(runs, store))
    paired = PairedResults(found)
    assert (paired.n_pairs, paired.left_out) == (N - 4, 4)
    row = compare([(found[0], found[1])], paired)[0]
    assert row.discordant == (3, 1)  # of seed 1 alone


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
