"""A sweep's folder: what is written is read again, for its owner alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.sweeps.folder import Submission, SweepFolder, TrialDraw, TrialOutcome, TrialRecord
from experiments.errors import UserError
from experiments.sweep_schema import Distribution, Launcher, Search


def test_a_submission_is_read_as_it_was_written(tmp_path: Path):
    folder = SweepFolder(tmp_path / "s")
    assert folder.submission is None
    space = {"optimizer.lr": Distribution(low=1e-4, high=1e-2, log=True)}
    submission = Submission(
        uri="sqlite:////data/mlflow.db", experiment_id="1", run_id="parent", cwd="/data", code="/data/code/0f",
        trials=["a-0", "a-1"],
        launcher=Launcher(gpus_per_node=2, options={"qos": "high"}, setup=["cp x ${SLURM_TMPDIR}"]),
        search=Search(space=space, metric="val/covidx/loss"), trainer={"num_nodes": 1, "devices": 2},
        study="s-12", storage="/data/optuna.journal",
    )  # fmt: skip
    folder.save_submission(submission)
    assert folder.submission == submission
    assert [trial.id for trial in folder.trials] == ["a-0", "a-1"]
    assert (folder.path / "sweep.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in folder.path.iterdir()] == ["sweep.json"]


def test_a_trial_of_a_search_is_named_by_what_was_drawn(tmp_path: Path):
    trial = SweepFolder(tmp_path).trial("a-0")
    record = TrialRecord("a, 0", "a", {}, "run", job="7", launcher="slurm", log="log")
    trial.save_record(record)
    assert trial.record == record
    trial.save_draw(TrialDraw(3, "lr 0.01", {"optimizer.lr": 0.01}))
    drawn = replace(record, name="lr 0.01", label="lr 0.01", overrides={"optimizer.lr": 0.01})
    assert trial.record == drawn
    trial.cancel()
    trial.save_outcome(TrialOutcome("cancelled", "node7", 1, end=2.0))
    trial.forget_outcome()
    assert (trial.outcome, trial.is_cancelled, trial.record) == (None, False, drawn)
    trial.forget()
    assert trial.record == record


def test_a_lock_is_seen_by_others_and_free_afterwards(tmp_path: Path):
    folder = SweepFolder(tmp_path)
    assert not folder.has_launcher
    with folder.lock("launcher"):
        assert folder.has_launcher
        assert not folder.trial("a-0").is_locked
    assert not folder.has_launcher


def test_other_starts_are_found_beside_and_unknown_names_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s", ".s-20260101-000000", "other"):
        (SweepFolder.root() / name).mkdir(parents=True)
        (SweepFolder.root() / name / "sweep.json").write_text("{}")
    assert [sweep.name for sweep in SweepFolder.all()] == ["other", "s"]
    assert [sweep.name for sweep in SweepFolder.named("s.yaml").aside] == [".s-20260101-000000"]
    with pytest.raises(UserError, match="did you mean 'other'"):
        SweepFolder.named("othe")
