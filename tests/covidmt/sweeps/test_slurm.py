"""What SLURM says of a job's end, by programs of SLURM's names."""

from pathlib import Path

import pytest

from covidmt.sweeps.slurm import COMPLETED, fate
from tests.helpers.trials import (
    FORGOTTEN,
    slurm_says,
)


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
