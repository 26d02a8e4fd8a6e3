"""The house's rules: imports run downward only, and the packages are found from any working folder."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

BELOW = {
    "experiments": set(),
    "explain": {"experiments"},
    "metrics": {"explain", "experiments"},
    "datamodules": {"metrics", "explain", "experiments"},
    "lightning_modules": {"metrics", "explain", "experiments"},
    "callbacks": {"lightning_modules", "datamodules", "metrics", "explain", "experiments"},
    "covidmt": {"callbacks", "lightning_modules", "datamodules", "metrics", "explain", "experiments"},
}


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_downward_only(room: str):
    for path in (REPO / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            rooms = {name.split(".")[0] for name in names} & BELOW.keys()
            assert rooms <= BELOW[room] | {room}, f"{path.relative_to(REPO)}:{node.lineno} imports {rooms}"


def test_packages_are_found_from_any_folder(tmp_path: Path):
    code = f"import {', '.join(BELOW)}; print(experiments.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == REPO / "experiments" / "__init__.py"


def test_help_imports_nothing_heavy():
    heavy = {"torch", "lightning", "mlflow", "pandas", "numpy", "matplotlib"}
    code = f"import sys, covidmt.cli; print(*{heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
