"""Other packages of our rooms' names, in the places where Python looks first."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from covidmt.rooms import ROOMS, foreign_room, quick_imports
from tests.conftest import REPO


def test_the_rooms_are_the_repository_s_packages():
    packages = {path.parent.name for path in REPO.glob("*/__init__.py")} - {"tests"}
    assert set(ROOMS) == packages
    assert foreign_room() is None


@pytest.mark.parametrize("command", [["-m", "covidmt", "--help"], ["-c", "import covidmt; covidmt.load_experiment"]])
@pytest.mark.parametrize("place", ["metrics.py", "callbacks/__init__.py"])
def test_a_file_in_the_place_of_a_room_is_one_sentence(tmp_path: Path, place: str, command: list[str]):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    run = subprocess.run([sys.executable, *command], cwd=tmp_path, env=_environment(), capture_output=True, text=True)
    assert run.returncode == (2 if "-m" in command else 1)
    last = run.stderr.splitlines()[-1]
    assert str(tmp_path / place) in last
    assert "rename it" in last
    assert ("Traceback" in run.stderr) == (run.returncode == 1)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_a_working_folder_of_other_things_is_no_trouble(tmp_path: Path):
    (tmp_path / "experiments").mkdir()  # a user's own experiments: no package
    run = subprocess.run([sys.executable, "-m", "covidmt", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_looked_for_again_after_the_imports(collects: bool):
    try:
        if not collects:
            gc.disable()
        with quick_imports():
            assert not gc.isenabled()
        assert gc.isenabled() == collects
    finally:
        gc.enable()
