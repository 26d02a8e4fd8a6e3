"""The local launcher: GPUs dealt out, Ctrl-C passed on."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from covidmt.sweeps.local import run_local, trials_at_a_time
from experiments.sweep_schema import Launcher
from tests.helpers.trials import submitted, write_sweep

NOTES = """
import os, sys, time
with open("devices", "a") as file:
    file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['OMP_NUM_THREADS']}\\n")
with open("place", "a") as file:
    file.write(" ".join(name for name in os.environ if name.startswith(("SLURM_", "MASTER_"))) + "\\n")
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


def test_each_trial_has_gpus_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Jobs that only note what they are given; the first two run at once, the third has what the first to end had."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7,GPU-9")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name in ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "MASTER_PORT"):  # inside an allocation
        monkeypatch.setenv(name, "7")
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
    assert (tmp_path / "place").read_text().split() == []  # nor do they meet at one port, or requeue its job


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
    assert "stopped; the same command resumes" in capfd.readouterr().out
    outcome = folder.trial(trials[0]).outcome
    assert outcome is not None
    assert (outcome.state, outcome.reason) == ("preempted", "killed by SIGKILL: out of memory, or by hand")
    assert folder.trial(trials[1]).outcome is None
    assert signal.getsignal(signal.SIGINT) is before
