"""The table of runs, and `covidmt runs`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from covidmt.tracking.runs.table import table_of_runs
from covidmt.tracking.store import Store
from experiments.errors import UserError


@pytest.fixture
def store(store: Store, tmp_path: Path) -> Store:
    """Three runs in the working folder's store; the middle one has no PI score, the last failed."""
    client = store.client
    for number, (pi, lr) in enumerate([(4.2, 0.1), (None, 0.1), (7.0, 0.01)]):
        start = (number + 1) * 3_600_000  # 0 would be now
        run_id = client.create_run("0", run_name=f"run {number}", start_time=start).info.run_id
        client.log_param(run_id, "seed", number)
        if pi is not None:
            client.log_metric(run_id, "test/pi_score", pi)
        (tmp_path / "experiment.yaml").write_text(f"seed: {number}\noptimizer: {{lr: {lr}}}\n")
        client.log_artifact(run_id, str(tmp_path / "experiment.yaml"))
        client.set_terminated(run_id, "FAILED" if number == 2 else "FINISHED", end_time=start + 1_800_000)
    return store


def test_newest_first_with_the_columns_that_some_run_has(store: Store):
    table = table_of_runs(store)
    assert list(table.columns) == ["run", "name", "status", "started", "hours", "seed", "test/pi_score"]
    assert table["name"].tolist() == ["run 2", "run 1", "run 0"]
    assert table["hours"].tolist() == [0.5, 0.5, 0.5]


def test_the_deciding_tasks_accuracy_and_auroc_are_columns(store: Store):
    (run, *_) = store.client.search_runs(["0"])
    for key in ("accuracy", "auroc", "auroc/COVID-19", "ap"):
        store.client.log_metric(run.info.run_id, f"test/covidx/{key}", 0.75)
    store.client.log_metric(run.info.run_id, "test/nodule/auroc", 0.5)  # of a task that decides nothing
    assert list(table_of_runs(store).columns[5:]) == [
        "seed",
        "test/covidx/accuracy",
        "test/covidx/auroc",
        "test/pi_score",
    ]


def test_runs_without_a_figure_come_last_in_either_order(store: Store):
    for ascending, order in ((True, ["run 0", "run 2", "run 1"]), (False, ["run 2", "run 0", "run 1"])):
        table = table_of_runs(store, columns=["name"], sort="test/pi_score", ascending=ascending)
        assert table["name"].tolist() == order


def test_filters_and_limits(store: Store):
    assert table_of_runs(store, "metrics.`test/pi_score` < 5", columns=["name"]).values.tolist() == [["run 0"]]
    assert table_of_runs(store, "attributes.status = 'FAILED'", columns=["seed"]).values.tolist() == [["2"]]
    assert len(table_of_runs(store, limit=2)) == 2
    assert len(table_of_runs(store, "params.seed = '9'")) == 0


def test_mistakes(store: Store, tmp_path: Path):
    with pytest.raises(UserError, match="tag 'test/pi_scor'; did you mean 'test/pi_score'"):
        table_of_runs(store, sort="test/pi_scor")
    with pytest.raises(UserError, match="tracking store sqlite:///"):
        table_of_runs(store, "seed == 1")
    with pytest.raises(UserError, match=r"no runs yet: .*runs\.db is not there"):
        table_of_runs(Store(f"sqlite:///{tmp_path}/runs.db"))


def test_the_command(store: Store, covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("runs", "--columns", "run,name,test/pi_score", "--sort", "test/pi_score", "--ascending") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "name", "test/pi_score"]
    assert [line.split()[1:] for line in lines[1:]] == [["run", "0", "4.2"], ["run", "2", "7"], ["run", "1", "-"]]

    assert covidmt("runs", "--json", "--limit", "1") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], len(row["run"]), row["test/pi_score"]) == ("run 2", 32, 7.0)


def test_one_run_and_what_differs(store: Store, covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("runs", "show", "last", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run"]["status"] == "FAILED"
    assert shown["metrics"] == {"test/pi_score": 7.0}

    assert covidmt("runs", "diff", "run 0", "run 2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"optimizer.lr": ["0.1", "0.01"], "seed": ["0", "2"]}
    assert covidmt("runs", "diff", "run 0", "run 0") == 0
    assert capsys.readouterr().out.strip() == "their settings are the same"
    assert covidmt("runs", "diff", "run 0", "run 9") == 2
    assert "run run 9: not in" in capsys.readouterr().err
