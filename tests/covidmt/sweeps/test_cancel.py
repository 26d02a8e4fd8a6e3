"""Who is told of a cancellation."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.sweeps.cancel import cancel_trials
from covidmt.sweeps.folder import SweepFolder, TrialOutcome
from covidmt.sweeps.status import trial_statuses
from tests.conftest import REPO
from tests.helpers.trials import (
    children,
    parent,
    steps,
    submitted,
    write_sweep,
)

pytestmark = pytest.mark.slow

HOLDS = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_launchers_process_id_that_another_process_has_now_is_not_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder, (trial, other) = submitted(write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1]))
    with (
        subprocess.Popen(["sleep", "600"]) as stranger,
        subprocess.Popen([sys.executable, "-c", HOLDS, folder.path / f"{trial}.lock"], stdout=subprocess.PIPE) as job,
    ):
        assert job.stdout.readline() == b"held\n"
        for name in (trial, other):  # as a launcher leaves them that was killed
            record = folder.trial(name).record
            job_name = f"{socket.gethostname()}:{stranger.pid}"
            folder.trial(name).save_record(replace(record, job=job_name, launcher="local"))
        folder.trial(trial).save_outcome(TrialOutcome("running", socket.gethostname(), job.pid))
        assert [status.state for status in trial_statuses(folder).values()] == ["running", "missing"]
        cancel_trials("s")
        assert job.wait() == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()
    assert [status.state for status in trial_statuses(folder).values()] == ["cancelled", "missing"]
    assert children(tmp_path, "s")[0].info.status == "KILLED"
    cancel_trials("s")  # nobody is left


def test_a_sweep_that_is_cancelled_while_it_runs(
    covidmt: Callable[..., int],
    demo_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """The launcher has SIGTERM and passes it on; the first trial writes a checkpoint, the second is never started."""
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    holds = {"callbacks": [{"class_path": "tests.helpers.cluster_callbacks.HoldsInValidation"}]}
    sweep = write_sweep(tmp_path / "held.yaml", demo_data, seeds=[0, 1], trainer=holds)

    def cancel_when_held() -> None:
        while not (tmp_path / "held-0").exists():
            time.sleep(0.1)
        cancel_trials("held")

    thread = threading.Thread(target=cancel_when_held, daemon=True)
    thread.start()
    assert covidmt("sweep", "run", sweep) == 0
    thread.join()
    said = capfd.readouterr().out
    assert "2 trial(s) cancelled" in said
    assert "writing a checkpoint" in said
    assert "stopped; the same command resumes" in said
    found = trial_statuses(SweepFolder.named("held"))
    assert [status.state for status in found.values()] == ["cancelled", "cancelled"]
    runs = children(tmp_path, "held")
    assert {run.info.status for run in runs.values()} == {parent(tmp_path, "held").info.status} == {"KILLED"}
    assert steps(tmp_path, runs[0], "train/loss") == [0, 1]
    assert (tmp_path / "mlruns" / "checkpoints" / runs[0].info.run_id / "last.ckpt").exists()
