"""Sweeps on a real SLURM: one machine, two node names (see slurm.sh)."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from covidmt.sweeps.folder import SweepFolder, TrialRecord
from covidmt.sweeps.slurm import max_array_size
from tests.conftest import REPO
from tests.helpers.trials import children, parent, steps, write_sweep

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("slurm")]

# Node names of one machine are no host names: the processes of a trial meet on the loopback address.
SETUP = ["export MASTER_ADDR=127.0.0.1"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 1200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(1)


def queue_is_empty() -> bool:
    return not subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout.strip()


def sweep_named(folder: Path, name: str) -> SweepFolder:
    return SweepFolder(folder / "mlruns" / "sweeps" / name)


def records(folder: Path, name: str) -> list[TrialRecord]:
    return [trial.record for trial in sweep_named(folder, name).trials]


def jobs(folder: Path, name: str) -> dict[int, str]:
    """Seed -> job."""
    return {record.overrides["seed"]: str(record.job) for record in records(folder, name)}


def test_an_array_a_crash_in_it_and_what_is_missing_after(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    breaks = [{"class_path": "tests.helpers.cluster_callbacks.BreaksUntilMended"}]
    launcher = {"kind": "slurm", "time_hours": 0.5, "setup": SETUP}
    sweep = write_sweep(
        tmp_path / "array.yaml", demo_data, seeds=[0, 1], launcher=launcher, trainer={"callbacks": breaks}
    )
    assert covidmt("sweep", "run", sweep) == 0
    first = jobs(tmp_path, "array")
    assert first[1] == first[0].replace("_0", "_1")  # one array
    wait_for(queue_is_empty, "the array")
    capfd.readouterr()
    assert covidmt("sweep", "status", "array") == 0
    said = capfd.readouterr().out
    assert "1 finished, 1 failed" in said
    assert "broken on purpose" in said
    runs = children(tmp_path, "array")
    assert [runs[seed].info.status for seed in (0, 1)] == ["FINISHED", "FAILED"]

    (tmp_path / "mended").touch()
    assert covidmt("sweep", "run", sweep) == 0
    wait_for(queue_is_empty, "the trial that was missing")
    second = jobs(tmp_path, "array")
    assert second[0] == first[0]
    assert second[1] != first[1]
    for run in children(tmp_path, "array").values():
        assert run.info.status == "FINISHED"
        assert steps(tmp_path, run, "train/loss") == [0, 1]
    assert parent(tmp_path, "array").info.status == "FINISHED"
    capfd.readouterr()
    assert covidmt("sweep", "logs", sweep_named(tmp_path, "array").trials[0].id) == 0
    assert "Job completed successfully" in capfd.readouterr().out


def test_large_arrays_are_split_options_passed_on_and_all_cancelled(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    assert max_array_size() == 5
    options = {"begin": "now+1hour", "comment": "a test"}
    launcher = {"kind": "slurm", "array_parallelism": 3, "options": options}
    sweep = write_sweep(tmp_path / "six.yaml", demo_data, seeds=[*range(6)], launcher=launcher)
    assert covidmt("sweep", "run", sweep) == 0
    arrays = {job.partition("_")[0] for job in jobs(tmp_path, "six").values()}
    assert len(arrays) == 2
    shown = subprocess.run(["scontrol", "show", "job"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"ArrayTaskThrottle=(\d+)", shown)) == {"1", "2"}
    assert "afterany" not in shown
    assert "Comment=a test" in shown
    assert covidmt("sweep", "run", sweep) == 0  # leaves waiting ones alone
    assert "nothing to start" in capfd.readouterr().out
    assert covidmt("sweep", "cancel", "six") == 0
    assert {run.info.status for run in children(tmp_path, "six").values()} == {"KILLED"}
    assert parent(tmp_path, "six").info.status == "KILLED"
    wait_for(queue_is_empty, "the end of cancelled jobs")
    assert covidmt("sweep", "status", "six") == 0
    assert "6 cancelled" in capfd.readouterr().out
    assert covidmt("sweep", "run", sweep, "launcher.array_parallelism=1") == 0
    first = jobs(tmp_path, "six")[0].partition("_")[0]
    shown = subprocess.run(["scontrol", "show", "job"], capture_output=True, text=True, check=True).stdout
    assert f"Dependency=afterany:{first}" in shown  # never two trials at a time
    assert covidmt("sweep", "cancel", "six") == 0
    wait_for(queue_is_empty, "the end of cancelled jobs")


@pytest.mark.slow
def test_two_nodes_train_together(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path):
    launcher = {"kind": "slurm", "nodes": 2, "time_hours": 0.5, "setup": SETUP}
    sweep = write_sweep(tmp_path / "nodes.yaml", demo_data, seeds=[0], launcher=launcher)
    assert covidmt("sweep", "run", sweep) == 0
    wait_for(queue_is_empty, "the trial")
    run = children(tmp_path, "nodes")[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["global_batch"] == "4"  # 2 a process
    assert steps(tmp_path, run, "train/loss") == [0, 1]
    logs = sorted((tmp_path / "mlruns" / "sweeps" / "nodes" / "jobs").glob("*_log.out"))
    assert len(logs) == 2
    assert [
        next(line.partition("), ")[2][:-1] for line in log.read_text().splitlines() if "JobEnvironment" in line)
        for log in logs
    ] == ["node=0(2), global_rank=0(2)", "node=1(2), global_rank=1(2)"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_requeue_time_limit_and_sudden_death_lose_no_step(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Four trials of two processes with loader workers, each broken in the middle of its first epoch."""
    launcher = {"kind": "slurm", "tasks_per_node": 2, "time_hours": 0.5, "setup": SETUP, "array_parallelism": 4}
    holds = {"callbacks": [{"class_path": "tests.helpers.cluster_callbacks.Holds"}], "max_epochs": 2}
    sweep = write_sweep(tmp_path / "broken.yaml", demo_data, seeds=[0, 1, 2, 3], launcher=launcher, trainer=holds)
    overrides = ["data.epoch_length=8", "data.num_workers=1"]
    assert covidmt("sweep", "run", sweep, *overrides) == 0
    folder = sweep_named(tmp_path, "broken")
    names = {trial.record.overrides["seed"]: trial.id for trial in folder.trials}
    job = jobs(tmp_path, "broken")
    wait_for(lambda: all((tmp_path / f"held-{seed}").exists() for seed in range(4)), "all trials in their first epoch")

    subprocess.run(["scontrol", "requeue", job[0]], check=True)  # by SLURM: SIGTERM, then it starts it again
    subprocess.run(["scancel", "--signal=USR2", job[1]], check=True)  # as before the time limit: we requeue
    killed = folder.trial(names[2]).outcome
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    assert covidmt("sweep", "cancel", "broken", names[3]) == 0  # by a person: nobody requeues
    time.sleep(2)  # signals arrive while the trials hold
    for seed in range(4):
        (tmp_path / f"go-{seed}").touch()
    wait_for(queue_is_empty, "what was requeued")
    assert children(tmp_path, "broken")[3].info.status == "KILLED"  # not SCHEDULED, and before anybody looks
    assert folder.trial(names[3]).outcome.state == "cancelled"
    capfd.readouterr()
    assert covidmt("sweep", "status", "broken") == 0
    said = capfd.readouterr().out
    assert "2 finished, 1 failed, 1 cancelled" in said
    assert f"{names[2]}: killed by signal 9" in said
    assert "killed by signal 9" in children(tmp_path, "broken")[2].data.tags["failure"]

    assert covidmt("sweep", "run", sweep, *overrides) == 0
    started = {seed for seed, name in jobs(tmp_path, "broken").items() if name != job[seed]}
    assert started == {2, 3}
    wait_for(queue_is_empty, "what was missing")
    assert covidmt("sweep", "status", "broken") == 0
    assert "4 finished" in capfd.readouterr().out
    runs = children(tmp_path, "broken")
    for seed, run in runs.items():
        # seed 2 was killed before its first checkpoint
        log = Path(str(folder.trial(names[seed]).record.log)).read_text()
        assert bool(re.search(r"Resuming run \w+ from step 5", log)) == (seed != 2), log
        assert run.info.status == "FINISHED", seed
        assert steps(tmp_path, run, "train/loss") == list(range(16)), seed
        assert steps(tmp_path, run, "train/covidx/loss") == list(range(16)), seed
        assert steps(tmp_path, run, "val/pi_score") == [0, 1], seed
        assert steps(tmp_path, run, "val/covidx/loss") == [0, 1], seed
    assert parent(tmp_path, "broken").info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_validation_is_left_at_the_time_limit_and_in_a_preemptions_grace(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Two trials of two processes, which would stay in their first validation; SLURM itself sends both signals."""
    launcher = {"kind": "slurm", "tasks_per_node": 2, "setup": SETUP, "requeues": 2, "signal_seconds": 60}
    # five minutes, of which a busy machine needs some to start; a node each
    launcher |= {"time_hours": 5 / 60, "options": {"exclusive": True}}
    holds = {"callbacks": [{"class_path": "tests.helpers.cluster_callbacks.HoldsInValidation"}]}
    sweep = write_sweep(tmp_path / "left.yaml", demo_data, seeds=[0, 1], launcher=launcher, trainer=holds)
    assert covidmt("sweep", "run", sweep) == 0
    wait_for(lambda: all((tmp_path / f"held-{seed}").exists() for seed in (0, 1)), "the validations")
    preempt = ["sbatch", "--partition=urgent", "--nodelist=n1", "--exclusive", "--wrap=sleep 5", "--output=/dev/null"]
    subprocess.run(preempt, check=True)  # the trial on n2 goes on to its time limit
    wait_for(queue_is_empty, "what was requeued")
    capfd.readouterr()
    assert covidmt("sweep", "status", "left") == 0
    said = capfd.readouterr().out
    assert "2 finished" in said, said
    for run in children(tmp_path, "left").values():
        assert run.info.status == "FINISHED"
        assert steps(tmp_path, run, "train/loss") == [0, 1]
        assert steps(tmp_path, run, "val/pi_score") == [0]
    logs = [Path(str(record.log)).read_text() for record in records(tmp_path, "left")]
    assert all("Resuming run" in log and "from step 2" in log for log in logs)
    assert parent(tmp_path, "left").info.status == "FINISHED"


@pytest.mark.slow
def test_the_last_requeue_is_the_last(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    launcher = {"kind": "slurm", "time_hours": 0.5, "setup": SETUP, "requeues": 0}
    holds = {"callbacks": [{"class_path": "tests.helpers.cluster_callbacks.HoldsInValidation"}]}
    sweep = write_sweep(tmp_path / "once.yaml", demo_data, seeds=[0], launcher=launcher, trainer=holds)
    assert covidmt("sweep", "run", sweep) == 0
    wait_for((tmp_path / "held-0").exists, "the validation")
    subprocess.run(["scancel", "--signal=USR2", jobs(tmp_path, "once")[0]], check=True)
    wait_for(queue_is_empty, "its end")
    capfd.readouterr()
    assert covidmt("sweep", "status", "once") == 0
    said = capfd.readouterr().out
    assert "1 failed" in said
    assert "time limit: requeued 0 times (launcher.requeues)" in said
    assert children(tmp_path, "once")[0].info.status == "FAILED"
    assert covidmt("sweep", "run", sweep) == 0  # what it had computed is not lost
    wait_for(queue_is_empty, "the rest")
    (run,) = children(tmp_path, "once").values()
    assert run.info.status == "FINISHED"
    assert steps(tmp_path, run, "train/loss") == [0, 1]
    (record,) = records(tmp_path, "once")
    assert "from step 2" in Path(str(record.log)).read_text()
