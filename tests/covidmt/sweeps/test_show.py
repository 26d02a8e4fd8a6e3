"""The table of a sweep's trials, and their logs, through the command line's functions."""

from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.sweeps.folder import TrialOutcome
from covidmt.sweeps.show import print_log, print_status
from experiments.errors import UserError
from tests.helpers.trials import (
    parent,
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
