"""The house's rules: floors, examples, names and lengths, and that the packages are found from any working folder."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import REPO
from tests.helpers import house

# What each package may import.
BELOW = {
    "experiments": set(),
    "explain": {"experiments"},
    "metrics": {"explain", "experiments"},
    "datamodules": {"metrics", "explain", "experiments"},
    "lightning_modules": {"metrics", "explain", "experiments"},
    "callbacks": {"lightning_modules", "datamodules", "metrics", "explain", "experiments"},
    "covidmt": {"callbacks", "lightning_modules", "datamodules", "metrics", "explain", "experiments"},
}

# The wings of a package from the highest floor to the lowest; those of one floor do not know each other.
FLOORS = [
    {"covidmt"},  # the front door
    {"covidmt.__main__"},
    {"covidmt.cli"},
    {"covidmt.commands"},
    {"covidmt.sweeps", "covidmt.probing", "covidmt.serving"},
    {"covidmt.training", "covidmt.comparison", "covidmt.evaluation"},
    {"covidmt.features", "covidmt.exporting"},
    {"covidmt.lungs", "covidmt.prediction", "covidmt.pretraining"},
    {"covidmt.trainer", "covidmt.tracking", "covidmt.pairs", "covidmt.pages", "covidmt.rooms"},
    {"datamodules.checks", "lightning_modules"},
    {"datamodules", "lightning_modules.lungs", "lightning_modules.losses"},
    {"datamodules.demo", "lightning_modules.heads", "lightning_modules.optimizers", "lightning_modules.checkpoint"},
    {"datamodules.channels", "lightning_modules.networks", "lightning_modules.box_codes"},
    {"datamodules.images"},
    {"datamodules.sources", "datamodules.formats"},
    {"datamodules.reading"},
]

# Modules whose tests have another name than theirs, with the test that covers them.
COVERED_BY = {
    "covidmt/commands/": "tests/covidmt/test_cli.py",
    "covidmt/__main__.py": "tests/covidmt/test_rooms.py",
}

# The figures of `python -m tests.helpers.house`, and how far each may go.
AT_MOST = {
    "modules in the fullest folder": 15,
    "modules in covidmt/ itself": 4,
    "files over 450 lines": 0,
    "long bodies without paragraphs, %": 10,
    "walruses in a thousand lines": 0.8,
    "dict[str, Any]": 40,
    "public classes named twice": 0,
    "files with private names of libraries": 2,
    "empty __init__.py": 0,
}
AT_LEAST = {"modules with an example": 45}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and dotted names of what a module imports, anywhere in it."""
    for node in ast.walk(house.tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_downward_only(room: str):
    paths = sorted((REPO / room).rglob("*.py"))
    assert paths
    for path in paths:
        for line, name in _imports(path):
            rooms = {name.split(".")[0]} & BELOW.keys()
            assert rooms <= BELOW[room] | {room}, f"{house.name(path)}:{line} imports {name}"


class Wing(NamedTuple):
    """A wing of a package, and its floor from the top."""

    package: str
    wing: str
    floor: int


def _wing(module: str) -> Wing | None:
    """The wing of a dotted name: the longest that it begins with; None: its package has no wings."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        for floor, wings in enumerate(FLOORS):
            if ".".join(parts[:end]) in wings:
                return Wing(parts[0], ".".join(parts[:end]), floor)
    return None


def test_imports_between_wings_run_downward_only():
    checked = 0
    for path in house.modules():
        mine = _wing(house.name(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for line, name in _imports(path):
            theirs = _wing(name)
            if mine and theirs and mine.wing != theirs.wing and mine.package == theirs.package:
                checked += 1
                assert mine.floor < theirs.floor, f"{house.name(path)}:{line}: {mine.wing} imports {name}"
    assert checked > 50


def test_every_wing_has_a_floor_and_stands():
    wings = set().union(*FLOORS)
    for wing in wings:
        path = REPO / wing.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), wing
    for package in ("covidmt", "datamodules", "lightning_modules"):
        for folder in (REPO / package).glob("*/__init__.py"):
            assert f"{package}.{folder.parent.name}" in wings


def test_the_figures_of_the_house_hold():
    figures = house.figures()
    print()
    for label, value in figures.items():
        bound = AT_MOST.get(label, AT_LEAST.get(label, ""))
        print(f"{value:>10,}  {label}{f'  (bound: {bound})' if bound != '' else ''}")
    too_high = {label: figures[label] for label, most in AT_MOST.items() if figures[label] > most}
    too_low = {label: figures[label] for label, least in AT_LEAST.items() if figures[label] < least}
    assert not too_high | too_low, "see: python -m tests.helpers.house PATH"


def test_every_module_has_a_test():
    missing = [place.path for place in house.modules_without_test()]
    for path in missing:
        covered = [test for start, test in COVERED_BY.items() if path.startswith(start)]
        assert covered, f"{path} has no test of its name, and none is named for it"
        assert (REPO / covered[0]).is_file()
    for start in COVERED_BY:
        assert any(path.startswith(start) for path in missing) or start.endswith("__main__.py"), start


def test_no_test_is_left_behind_by_its_module():
    for test in (REPO / "tests").rglob("test_*.py"):
        folder = REPO / test.parent.relative_to(REPO / "tests")
        assert folder == REPO or folder.is_dir() or test.parent.name in ("cluster", "gpu"), test


def test_packages_are_found_from_any_folder(tmp_path: Path):
    code = f"import {', '.join(BELOW)}; print(experiments.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == REPO / "experiments" / "__init__.py"


def test_help_imports_nothing_heavy():
    heavy = {"torch", "lightning", "mlflow", "pandas", "numpy", "matplotlib", "omegaconf", "pydantic", "yaml"}
    code = f"import sys, covidmt.cli; print(*{heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
