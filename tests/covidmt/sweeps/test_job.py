"""What a job of a sweep does on its own process; the cluster's part is in tests/cluster."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from covidmt.sweeps.folder import TrialOutcome
from covidmt.sweeps.job import run_trial
from covidmt.sweeps.status import trial_statuses
from experiments.errors import UserError
from tests.helpers.trials import (
    children,
    parent,
    steps,
    submitted,
    write_sweep,
)


@pytest.fixture
def signals() -> Iterator[None]:
    """What `run_trial` does to those of its process is undone."""
    numbers = (signal.SIGTERM, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("signals")
def test_a_trial_that_fails_before_it_has_a_logger_is_failed_in_mlflow(tmp_path: Path):
    folder, (trial,) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0]))
    with pytest.raises(UserError, match=r"data\.root"):
        run_trial(str(folder.path), trial)
    run = children(tmp_path, "s")[0]
    assert run.info.status == "FAILED"
    assert "data.root" in run.data.tags["failure"]
    assert parent(tmp_path, "s").info.status == "FAILED"


@pytest.mark.slow
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


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that says that the job runs; returns where it notes what it was asked."""
    program, asked = folder / "bin" / "scontrol", folder / "asked"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $* >> {asked}\necho JobState=RUNNING\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return asked


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("heard", [True, False])
def test_sigterm_before_the_training_listens_requeues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: bool):
    """``heard``: while it was imported; else while data are read."""
    folder, (trial,) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0]))
    asked = scontrol(tmp_path, monkeypatch)

    def read(*arguments: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr("covidmt.sweeps.job._load_experiment", read)
    run_trial(str(folder.path), trial, [signal.SIGTERM] if heard else [])
    outcome = folder.trial(trial).outcome
    assert (outcome.state, outcome.requeues) == ("preempted", 1)
    assert asked.read_text().splitlines()[-1] == "requeue 4711"


@pytest.mark.usefixtures("signals")
def test_a_second_job_of_a_trial_waits_and_sees_that_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, (trial,) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0]))
    files = folder.trial(trial)
    files.save_outcome(TrialOutcome("running", "node7", 4711))

    def finish() -> None:
        time.sleep(0.3)
        files.save_outcome(TrialOutcome("finished", "node7", 4711, end=1.0))
        lock.release()

    lock = FileLock(folder.path / f"{trial}.lock", thread_local=False)  # of another process, so to speak
    lock.acquire()
    thread = threading.Thread(target=finish)
    thread.start()
    run_trial(str(folder.path), trial)  # without data it would fail
    thread.join()
    assert files.outcome.state == "finished"
    assert not files.is_locked
