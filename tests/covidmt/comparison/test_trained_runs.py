"""What is read of the runs, and which of them count."""

from dataclasses import replace
from math import inf, nan
from pathlib import Path

from covidmt.comparison.analysis import analyse
from covidmt.comparison.findings import reservations
from covidmt.comparison.report import report_runs
from covidmt.comparison.trained_runs import TrainedRun, collect_runs, define_scores
from experiments.schema import DecisionRule, Robustness, Target
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


def test_scores_that_are_no_metrics_are_read_from_the_epochs_table(store: Store):
    run = store.trial(tags={"best_epoch": "1"}, metrics=scores(3))
    table = "metric,value\ntest/ols/original/n,5\ntest/pi_score,3\ntest/li/boxes/0.5/lost,\n"
    store.client.log_text(run, table, "scores/test.csv")
    (read,) = collect_runs([run], store).runs
    assert read.metrics["test/ols/original/n"] == 5
    assert read.metrics["test/pi_score"] == 3
    assert "test/li/boxes/0.5/lost" not in read.metrics
    assert not read.left_out


def test_of_runs_and_sweeps_that_repeat_the_newest_counts(store: Store):
    first, second = store.sweep("again"), store.sweep("again")
    old = store.trial(parent=second, sweep="again", metrics=scores(5), params={"git_commit": "a"})
    new = store.trial(parent=second, sweep="again", metrics=scores(6), params={"git_commit": "b"})
    store.trial(parent=first, sweep="again", metrics=scores(1))
    results = collect_runs(["again"], store)
    assert [trial.run_id for trial in results.counted] == [new]
    assert {trial.run_id: trial.left_out for trial in results.runs}[old] == f"run again as {new}"
    assert "2 sweeps are called again" in results.notes[0]


def test_a_run_without_numbers_is_left_out_with_its_reason(store: Store, tmp_path: Path):
    """Two that say so, by NaN and by what MLflow keeps of an infinity, and one that had stopped for it."""
    good = store.trial(metrics=scores(3))
    broken = [store.trial(seed=1, metrics=scores(0) | {"test/covidx/loss": value}) for value in (nan, inf)]
    reason = "the training stopped: the loss of covidx is no finite number in step 3 (epoch 0). Lower optimizer.lr"
    failed = store.trial(seed=2, status="FAILED", known=False)
    store.client.log_text(failed, f"Traceback\nexperiments.errors.UserError: {reason}\n", "traceback.txt")
    results = collect_runs([good, *broken, failed], store)
    assert [run.run_id for run in results.counted] == [good]
    left_out = {run.run_id: run.left_out for run in results.runs}
    assert left_out[broken[0]] == "its network gives no finite numbers (test/covidx/loss is nan)"
    assert left_out[broken[1]].startswith("its network gives no finite numbers (test/covidx/loss is 1.79")
    assert left_out[failed] == reason
    assert reason in report_runs([good, failed], tmp_path, store).read_text()


def test_a_table_with_decisions_wins_over_the_threshold(store: Store):
    """Under argmax a probability of 0.4 can be positive; older tables have no decisions."""
    table = flipped(1).assign(positive_original=1.0, positive_received=0.0)
    runs = collect_runs([store.trial(pairs=table), store.trial(seed=1, pairs=flipped(1))], store).counted
    assert runs[0].pairs is not None
    assert runs[1].pairs is not None
    assert (runs[0].pairs["positive_original"] == 1).all()
    assert (runs[1].pairs["positive_original"] == (runs[1].pairs["p_original"] >= 0.5)).all()
    assert runs[0].metrics["test/pairs/positive/original"] == 1


def test_what_the_scores_are_scores_of():
    plain = Robustness()
    run = TrainedRun("4f2a", "one", "FINISHED", {}, {}, {}, {}, None, plain, "")
    said = define_scores([run])
    assert "COVID-19 where its probability is at least 0.5" in said
    assert "explains the decision made (robustness.target: decision)" in said
    other = replace(run, name="two", robustness=replace(plain, target=Target.predicted, decision=DecisionRule.argmax))
    both = define_scores([run, other])
    assert both.startswith("one: PI: ")
    assert "two: PI: COVID-19 where it is the most probable class" in both
    assert "(robustness.target: predicted)" in both
