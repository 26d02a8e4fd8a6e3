"""The local launcher: GPUs dealt out, who is told of a cancellation."""

import os
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
from covidmt.sweeps.local import run_local, trials_at_a_time
from covidmt.sweeps.status import trial_statuses
from experiments.sweep_schema import Launcher
from tests.conftest import REPO
from tests.covidmt.sweeps.test_states import submitted
from tests.helpers.trials import children, parent, steps, write_sweep

NOTES = """
import os, sys, time
with open("devices", "a") as file:
    file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['OMP_NUM_THREADS']}\\n")
while len(open("devices").readlines()) < 2:
    time.sleep(0.05)
"""
STAYS = """
import signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: Path("told").touch())
Path("begun").touch()
while True:
    time.sleep(0.05)
"""
HOLDS = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_each_trial_has_gpus_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Jobs that only note what they are given; the first two run at once, the third has what the first to end had."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7,GPU-9")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    launcher = Launcher(gpus_per_node=2)
    path = write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1, 2], launcher={"gpus_per_node": 2})
    folder, trials = submitted(path)
    (Path(folder.submitted.code) / "covidmt" / "sweeps" / "job.py").write_text(NOTES)
    slots = trials_at_a_time(launcher, {"accelerator": "cpu"})
    assert slots == 2
    run_local(folder, trials, launcher, slots)
    devices = (tmp_path / "devices").read_text().splitlines()
    assert sorted(devices[:2]) == ["3,5 3", "7,GPU-9 3"]  # twelve cores for two trials of two processes
    assert devices[2] in devices[:2]


def test_the_first_ctrl_c_tells_the_trials_and_the_second_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    folder, trials = submitted(write_sweep(tmp_path / "s.yaml", tmp_path, seeds=[0, 1]))
    (Path(folder.submitted.code) / "covidmt" / "sweeps" / "job.py").write_text(STAYS)
    before = signal.getsignal(signal.SIGINT)

    def interrupt_twice() -> None:
        for sign in ("begun", "told"):
            while not (tmp_path / sign).exists():
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_twice, daemon=True)
    thread.start()
    run_local(folder, trials, Launcher(), 1)
    thread.join()
    assert "stopped; the same command goes on" in capfd.readouterr().out
    outcome = folder.trial(trials[0]).outcome
    assert outcome is not None
    assert (outcome.state, outcome.reason) == ("preempted", "killed by SIGKILL: out of memory, or by hand")
    assert folder.trial(trials[1]).outcome is None
    assert signal.getsignal(signal.SIGINT) is before


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
    assert "stopped; the same command goes on" in said
    found = trial_statuses(SweepFolder.named("held"))
    assert [status.state for status in found.values()] == ["cancelled", "cancelled"]
    runs = children(tmp_path, "held")
    assert {run.info.status for run in runs.values()} == {parent(tmp_path, "held").info.status} == {"KILLED"}
    assert steps(tmp_path, runs[0], "train/loss") == [0, 1]
    assert (tmp_path / "mlruns" / "checkpoints" / runs[0].info.run_id / "last.ckpt").exists()
