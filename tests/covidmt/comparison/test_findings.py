"""What a report says in words."""

import numpy as np

from covidmt.comparison.analysis import analyse
from covidmt.comparison.findings import headlines, reservations
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import N, Store, flipped, pairs_table, scores


def test_a_model_with_one_answer_gets_no_praise(store: Store):
    constant = pairs_table(*np.zeros((3, N), bool)).assign(p_original=0.2, p_received=0.3)
    made = analyse(collect_runs([store.trial(pairs=constant), store.trial(n_tasks=6, pairs=flipped(1))], store))
    assert made.ranking[0].label == "ResNet-50, 1 task"
    assert any("same answer" in text for text in reservations(made))


def test_what_must_agree_and_does_not_is_said(store: Store):
    tags = [{"mask_source": source, "decoder": "area-1"} for source in ("segmenter a", "segmenter a", "folder")]
    runs = [store.trial(seed=seed, tags=own, metrics=scores(3)) for seed, own in enumerate(tags)]
    said = [text for text in reservations(analyse(collect_runs(runs, store))) if "differ in" in text]
    assert len(said) == 1
    assert "mask_source; segmenter a: 2; folder: 1" in said[0]


def test_a_single_seed_is_said_of_whom_it_is_true(store: Store):
    base, many = store.trial(pairs=flipped(0, 1, 2, 3)), store.trial(n_tasks=6, pairs=flipped(0))
    (headline,) = headlines(analyse(collect_runs([base, many], store)))
    assert "Both were trained with a single seed" in headline.lines[1]
    other = store.trial(n_tasks=6, seed=1, pairs=flipped(1))
    (headline,) = headlines(analyse(collect_runs([base, many, other], store)))
    assert "One of them was trained with a single seed" in headline.lines[1]
