"""A sweep's files and runs where the store or the submitter breaks off; nothing is trained."""

from pathlib import Path

import pytest

from covidmt.sweeps.folder import TrialOutcome
from covidmt.sweeps.run import run_sweep
from experiments.errors import UserError
from tests.helpers.trials import (
    children,
    count,
    parent,
    sql,
    store,
    submitted,
    write_sweep,
)


def test_a_store_that_does_not_answer_is_not_one_that_was_deleted(tmp_path: Path):
    path = write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1])
    folder, trials = submitted(path)
    folder.trial(trials[0]).save_outcome(TrialOutcome("finished", "here", 1, end=2.0))
    store(tmp_path).set_terminated(parent(tmp_path, "s").info.run_id)
    files = {file: file.read_bytes() for file in folder.path.glob("*.*[!k]")}
    sql(tmp_path, "CREATE TRIGGER broken BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END")
    with pytest.raises(UserError, match="tracking store"):
        run_sweep(path)
    assert {file: file.read_bytes() for file in files} == files
    assert count(tmp_path) == 3
    sql(tmp_path, "DROP TRIGGER broken")
    assert submitted(path)[1] == trials[1:]
    # its parent run deleted, a trial that is finished and one that is missing start anew
    store(tmp_path).delete_run(parent(tmp_path, "s").info.run_id)
    assert submitted(path)[1] == trials


def test_a_submission_that_is_broken_off_is_gone_on_with(tmp_path: Path):
    submitted(write_sweep(tmp_path / "first.yaml", tmp_path))  # makes the store
    broken = "BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END"
    sql(tmp_path, f"CREATE TRIGGER broken BEFORE INSERT ON runs WHEN (SELECT count(*) FROM runs) = 4 {broken}")
    path = write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1])
    with pytest.raises(UserError, match="tracking store"):
        run_sweep(path)
    begun = parent(tmp_path, "s").info.run_id, children(tmp_path, "s")[0].info.run_id
    sql(tmp_path, "DROP TRIGGER broken")
    assert len(submitted(path)[1]) == 2
    runs = children(tmp_path, "s")
    assert (parent(tmp_path, "s").info.run_id, runs[0].info.run_id) == begun
    assert [runs[seed].info.status for seed in (0, 1)] == ["SCHEDULED", "SCHEDULED"]
    assert count(tmp_path) == 5
