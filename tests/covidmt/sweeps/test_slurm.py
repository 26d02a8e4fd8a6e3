"""What SLURM says of a job's end, by programs of SLURM's names."""

from pathlib import Path

import pytest

from covidmt.sweeps.slurm import COMPLETED, ArrayPlan, fate, note_left_arrays, submit
from covidmt.sweeps.status import trial_statuses
from experiments.errors import UserError
from experiments.sweep_schema import Launcher
from tests.helpers.trials import FORGOTTEN, slurm_says, submitted, write_sweep


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


@pytest.mark.parametrize("queued", [True, False])
def test_an_array_whose_submitter_was_killed_is_found_by_its_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: bool
):
    """``queued``: it waits; else it has just ended, which the controller remembers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, trials = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0, 1]))
    plan, other = ArrayPlan.make(folder, trials), ArrayPlan.make(folder, trials)
    state = f"JobState=COMPLETED Comment=mine covidmt:{plan.token} X=y"
    ended = [f"JobId={9 + n} ArrayJobId=7 ArrayTaskId={n} {state}" for n in (0, 1)]
    slurm_says(tmp_path, monkeypatch, FORGOTTEN, "" if queued else "\n".join(ended))
    if queued:
        lines = [f"{array}_{n}|mine covidmt:{token}" for array, token in ((7, plan.token), (8, "0f")) for n in (0, 1)]
        states = ["7_0|PENDING||", "7_1|PENDING||"]
        commented, plain = ("; ".join(f"echo '{line}'" for line in part) for part in (lines, states))
        (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\ncase $* in *%k*) {commented};; *) {plain};; esac\n")
    note_left_arrays(folder)
    assert [trial.record.job for trial in folder.trials] == ["7_0", "7_1"]
    assert folder.trials[1].record.log == str(folder.path / "jobs" / "7_1_0_log.out")
    other.path.unlink()
    if queued:
        states = {trial: status.state for trial, status in trial_statuses(folder).items()}
        assert "missing" not in states.values()  # it is not started again


def test_a_plan_that_slurm_never_got_leaves_its_trials_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, trials = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0]))
    ArrayPlan.make(folder, trials)
    slurm_says(tmp_path, monkeypatch, FORGOTTEN, "")
    assert [status.state for status in trial_statuses(folder).values()] == ["missing"]


@pytest.mark.parametrize(("words", "kept"), [("Socket timed out on send/recv operation", 1), ("Invalid account", 0)])
def test_an_array_that_slurm_may_have_taken_without_saying_so_can_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, kept: int
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, trials = submitted(write_sweep(tmp_path / "s.yaml", tmp_path / "none", seeds=[0]))
    slurm_says(tmp_path, monkeypatch, FORGOTTEN, "")
    for name, script in (
        ("srun", ""),
        ("sbatch", f"echo 'sbatch: error: Batch job submission failed: {words}' >&2; exit 1"),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    with pytest.raises(UserError, match=f"SLURM does not take the job: .*{words}"):
        submit(folder, trials, Launcher())
    assert len(ArrayPlan.left(folder)) == kept
