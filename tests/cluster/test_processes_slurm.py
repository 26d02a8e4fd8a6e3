"""What SLURM's own variables say of who started a process: by srun, in a batch script, in the shell of salloc."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("slurm")]

TASKS = "from callbacks.processes import step_tasks; print(step_tasks())"


def said(*command: str, folder: Path) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=folder, timeout=300
    )
    return ended.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (["srun", "-n2", "--ntasks-per-node=2"], ["[2]", "[2]"]),
        (["srun", "-N2", "--ntasks=2"], ["[1, 1]", "[1, 1]"]),
        (["srun", "-N2", "-n3"], ["[2, 1]"] * 3),
        (["srun", "-n1"], ["[1]"]),
        (["salloc", "-n2"], ["[]"]),
        (["salloc", "-n2", "srun"], ["[2]", "[2]"]),
    ],
)
def test_tasks_are_srun_s(tmp_path: Path, launcher: list[str], expected: list[str]):
    assert said(*launcher, sys.executable, "-c", TASKS, folder=tmp_path) == expected


def test_a_batch_script_is_no_task_but_has_some(tmp_path: Path):
    """Also with a script that was submitted from a step: sbatch hands on that step's variables."""
    (tmp_path / "tasks.py").write_text(TASKS)
    lines = f"{sys.executable} tasks.py; srun {sys.executable} tasks.py"
    said("sbatch", "--wait", "--ntasks=2", "--output=first", "--wrap", lines, folder=tmp_path)
    assert (tmp_path / "first").read_text().split("\n")[:-1] == ["[]", "[2]", "[2]"]
    nested = f"sbatch --wait --output=second --wrap '{sys.executable} tasks.py'"
    said("salloc", "-n2", "srun", "-n1", "bash", "-c", nested, folder=tmp_path)
    assert (tmp_path / "second").read_text() in ("[]\n", "[1]\n")  # either way it starts its own processes
