"""The table of a sweep's trials, and their logs, through the command line's functions."""

from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.sweeps.folder import TrialOutcome
from covidmt.sweeps.show import print_log, print_status, status_rows
from covidmt.sweeps.status import trial_statuses
from experiments.errors import UserError
from tests.helpers.trials import (
    parent,
    store,
    submitted,
    write_sweep,
)


def test_the_table_has_a_row_a_trial_its_reason_and_a_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    folder, (first, second) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1]))
    record = replace(
        folder.trial(first).record, job="node7:1", launcher="local", log=str(folder.path / "logs" / "a.log")
    )
    folder.trial(first).save_record(record)
    folder.trial(first).save_outcome(TrialOutcome("failed", "node7", 1, begin=0.0, end=3725.0, reason="out of memory"))
    print_status(folder)
    text = capsys.readouterr().out
    (row,) = [line for line in text.splitlines() if line.startswith(f"{first} ")]
    assert row.split()[-4:] == ["failed", "node7", "1:02:05", "logs/a.log"]
    assert f"{first}: out of memory" in text
    assert "s: 1 failed, 1 missing; logs below" in text.replace("\n", " ")
    assert parent(tmp_path, "s").info.status == "FAILED"

    # its log, by the beginning of its id
    with pytest.raises(UserError, match="has no log yet"):
        print_log(f"s/{second}", 0)
    with pytest.raises(UserError, match="leave --rank out"):
        print_log(first, 1)
    Path(str(record.log)).parent.mkdir()
    Path(str(record.log)).write_text("epoch 1\n")
    print_log(first, 0)
    assert capsys.readouterr().out == "epoch 1\n"


def test_epochs_are_counted_from_1_as_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """MLflow counts them from 0: its epoch 2 is the third, which the training's line calls 3/3."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    folder, (first, second) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1]))
    client, sweep = store(tmp_path), parent(tmp_path, "s")
    run = client.create_run(sweep.info.experiment_id, tags={"mlflow.parentRunId": sweep.info.run_id})
    for key, value in {"epoch": 2.0, "val/pi_score": 12.5}.items():
        client.log_metric(run.info.run_id, key, value, step=2)
    folder.trial(first).save_record(replace(folder.trial(first).record, run_id=run.info.run_id))

    print_status(folder)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{first} ")]
    assert row.split()[-2:] == ["3", "12.5"]
    rows = {row["trial"]: row for row in status_rows(folder, trial_statuses(folder))}
    assert (rows[first]["epoch"], rows[second]["epoch"]) == (3.0, None)
