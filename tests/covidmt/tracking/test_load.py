"""The load test of tracking, small: a few trials logging at once to the embedded store."""

import subprocess
import sys

import pytest

from tests.conftest import REPO


@pytest.mark.slow
def test_nothing_is_lost_when_trials_log_at_once():
    command = [sys.executable, REPO / "benchmarks" / "tracking_load.py", "--store", "sqlite", "--clients", "3"]
    done = subprocess.run(
        [*map(str, command), "--epochs", "2", "--steps", "20", "--pause", "0"],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1200 of 1200" in done.stdout  # metric points
    assert "nothing lost" in done.stdout
