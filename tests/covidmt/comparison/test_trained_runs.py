"""What is read of the runs, and which of them count."""

from covidmt.comparison.analysis import analyse
from covidmt.comparison.findings import reservations
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import N, Store, flipped, scores


def test_validation_figures_are_the_best_epochs(store: Store):
    run = store.trial(tags={"best_epoch": "1"})
    for epoch, value in enumerate([9.0, 2.0, 5.0]):
        store.client.log_metric(run, "val/pi_score", value, step=epoch)
        pairs = flipped(*range(epoch)).to_csv(index=False)
        store.client.log_text(run, pairs, f"robustness/val_pairs/{epoch:03d}.csv")
    made = analyse(collect_runs([run], store))
    assert made.configurations[0].scores["pi"].value == 2.0
    assert made.configurations[0].scores["pairs_received"].value == 97.5
    assert made.paired.n_pairs == N
    assert any("validation pairs" in text for text in reservations(made))


def test_of_runs_and_sweeps_that_repeat_the_newest_counts(store: Store):
    first, second = store.sweep("again"), store.sweep("again")
    old = store.trial(parent=second, sweep="again", metrics=scores(5), params={"git_commit": "a"})
    new = store.trial(parent=second, sweep="again", metrics=scores(6), params={"git_commit": "b"})
    store.trial(parent=first, sweep="again", metrics=scores(1))
    results = collect_runs(["again"], store)
    assert [trial.run_id for trial in results.counted] == [new]
    assert {trial.run_id: trial.left_out for trial in results.runs}[old] == f"run again as {new}"
    assert "2 sweeps are called again" in results.notes[0]
