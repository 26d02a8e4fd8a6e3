"""A sweep's files and runs where the store, the submitter or a job breaks off; nothing is trained."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.sweeps.folder import SweepFolder, TrialOutcome
from covidmt.sweeps.job import run_trial
from covidmt.sweeps.run import prepare, run_sweep
from covidmt.sweeps.slurm import COMPLETED, fate
from covidmt.sweeps.status import trial_statuses
from experiments.errors import UserError
from experiments.trials import load_sweep
from tests.helpers.trials import children, parent, steps, store, write_sweep


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def submitted(path: Path) -> tuple[SweepFolder, list[str]]:
    """All of `run` but starting the trials; their ids."""
    sweep, trials = load_sweep(path)
    folder = SweepFolder(SweepFolder.root() / sweep.name)
    return folder, prepare(folder, sweep, trials)


def sql(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database, database:
        database.execute(statement)


def count(folder: Path) -> int:
    return len(store(folder).search_runs([parent(folder, "s").info.experiment_id]))


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


FORGOTTEN = None  # SLURM does not know the job


def slurm_says(folder: Path, monkeypatch: pytest.MonkeyPatch, accounting: str | None, controller: str | None) -> None:
    """Programs of SLURM's names, which know one job or none."""
    for name, said in (("sacct", accounting), ("scontrol", controller), ("squeue", "")):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n" + ("exit 1" if said is FORGOTTEN else f"echo '{said}'"))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("accounting", "controller", "reason"),
    [
        ("OUT_OF_MEMORY|0:125", FORGOTTEN, "out of memory (launcher.mem_gb)"),
        ("NODE_FAIL|0:0", FORGOTTEN, "node failure"),
        ("CANCELLED by 1000|0:0", FORGOTTEN, "cancelled"),
        ("CANCELLED+|0:0", FORGOTTEN, "cancelled"),
        ("FAILED|0:9", FORGOTTEN, "killed by signal 9; see its log"),
        ("FAILED|137:0", FORGOTTEN, "killed by signal 9; see its log"),
        ("FAILED|2:0", FORGOTTEN, "failed with exit status 2; see its log"),
        ("COMPLETED|0:0", FORGOTTEN, COMPLETED),
        (
            FORGOTTEN,
            "JobId=7 JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0",
            "failed with exit status 1; see its log",
        ),
        ("RUNNING|0:0", "JobId=7 JobState=NODE_FAIL ExitCode=0:0", "node failure"),  # accounting is behind
        ("RUNNING|0:0", "JobId=7 JobState=COMPLETING ExitCode=0:0", None),
        (FORGOTTEN, "JobId=7 JobState=RUNNING ExitCode=0:0", None),
        ("RUNNING|0:0", FORGOTTEN, ""),
        ("", FORGOTTEN, ""),
    ],
)
def test_how_a_job_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accounting: str | None,
    controller: str | None,
    reason: str | None,
):
    slurm_says(tmp_path, monkeypatch, accounting, controller)
    assert fate("7") == reason


def test_a_time_limit_names_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slurm_says(tmp_path, monkeypatch, "TIMEOUT|0:0", FORGOTTEN)
    assert str(fate("7")).startswith("time limit (launcher.time_hours)")


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


@pytest.fixture
def signals() -> Iterator[None]:
    """What `run_trial` does to those of its process is undone."""
    numbers = (signal.SIGTERM, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_a_trial_that_fails_before_it_has_a_logger_is_failed_in_mlflow(tmp_path: Path):
    folder, (trial,) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0]))
    with pytest.raises(UserError, match=r"data\.root"):
        run_trial(str(folder.path), trial)
    run = children(tmp_path, "s")[0]
    assert run.info.status == "FAILED"
    assert "data.root" in run.data.tags["failure"]
    assert parent(tmp_path, "s").info.status == "FAILED"


@pytest.mark.usefixtures("signals")
def test_a_trial_that_is_told_before_it_listens_leaves_at_its_first_step(tmp_path: Path, demo_data: Path):
    told = {"callbacks": [{"class_path": "tests.helpers.cluster_callbacks.IsToldEarly"}]}
    folder, (trial,) = submitted(write_sweep(tmp_path / "s.yaml", demo_data, seeds=[0], trainer=told))
    run_trial(str(folder.path), trial)
    assert folder.trial(trial).outcome.reason == "checkpointed on SIGUSR2"
    assert children(tmp_path, "s")[0].info.status == "SCHEDULED"
    assert trial_statuses(folder)[trial].state == "stopped"
    folder.trial(trial).cancel()  # by a person: this, and no requeue
    run_trial(str(folder.path), trial)
    assert trial_statuses(folder)[trial].state == "cancelled"
    run = children(tmp_path, "s")[0]
    assert run.info.status == "KILLED"
    assert steps(tmp_path, run, "train/loss") == []
    assert submitted(tmp_path / "s.yaml")[1] == [trial]
    assert not folder.trial(trial).is_cancelled
