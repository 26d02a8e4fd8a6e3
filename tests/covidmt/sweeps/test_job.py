"""What a job of a sweep does on its own process; the cluster's part is in tests/cluster."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

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
