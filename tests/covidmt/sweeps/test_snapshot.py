"""The copy of the code that jobs import."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from covidmt.rooms import ROOMS
from covidmt.sweeps.snapshot import job_environment, snapshot
from tests.conftest import REPO


def test_jobs_run_what_was_submitted(covidmt: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPO)  # a working folder with the packages in it
    copy = snapshot(tmp_path)
    assert snapshot(tmp_path) == copy
    (copy / "covidmt" / "__main__.py").write_text("print('the copy')")
    command = [sys.executable, "-m", "covidmt"]
    said = subprocess.run(command, env=job_environment(copy), capture_output=True, text=True, check=True)
    assert said.stdout == "the copy\n"


def test_the_copy_has_the_packages_and_the_git_state(tmp_path: Path):
    copy = snapshot(tmp_path)
    assert {path.name for path in copy.iterdir()} == {*ROOMS, "git.json"}
    assert not list(copy.rglob("__pycache__"))
    assert len(copy.name) == 12
