"""The states of trials whose jobs, runs or submitters are gone; nothing is trained."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.sweeps.folder import TrialOutcome
from covidmt.sweeps.slurm import COMPLETED
from covidmt.sweeps.status import trial_statuses
from tests.helpers.trials import (
    FORGOTTEN,
    children,
    slurm_says,
    store,
    submitted,
    write_sweep,
)


def test_a_running_trial_is_left_alone_though_its_run_was_deleted_and_its_job_was_never_noted(tmp_path: Path):
    path = write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1])
    folder, trials = submitted(path)
    folder.trial(trials[0]).save_outcome(TrialOutcome("running", "here", 1))
    record = folder.trial(trials[0]).record
    store(tmp_path).delete_run(record.run_id)
    with folder.trial(trials[0]).lock():
        assert trial_statuses(folder)[trials[0]].state == "running"
        assert submitted(path)[1] == trials[1:]
    assert folder.trial(trials[0]).record == record
    assert trial_statuses(folder)[trials[0]].state == "failed"  # its process is gone without a word
    assert submitted(path)[1] == trials
    assert folder.trial(trials[0]).record.run_id != record.run_id


def test_a_job_that_is_still_ending_is_settled_at_a_later_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, (trial,) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path))
    record = replace(folder.trial(trial).record, job="7", launcher="slurm", log=str(tmp_path / "log"))
    Path(record.log).touch()
    folder.trial(trial).save_record(record)
    slurm_says(tmp_path, monkeypatch, "RUNNING|0:0", "JobState=COMPLETING ExitCode=0:0")
    assert trial_statuses(folder)[trial].state == "running"
    slurm_says(tmp_path, monkeypatch, "COMPLETED|0:0", FORGOTTEN)  # the file on the shared disk may be an old one
    assert trial_statuses(folder)[trial].state == "running"
    assert folder.trial(trial).outcome is None
    os.utime(record.log, (1, 1))  # long ago
    assert trial_statuses(folder)[trial].reason == COMPLETED
    assert folder.trial(trial).outcome.state == "failed"
    assert children(tmp_path, "s")[folder.trial(trial).experiment().seed].info.status == "FAILED"
