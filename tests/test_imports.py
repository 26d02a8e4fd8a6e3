"""Importing a module changes nothing: what a user's process is like before, it is like after."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.test_house import BELOW

# Run in a fresh process: imports modules one by one, and prints which state each has changed.
SCRIPT = """
import atexit, importlib, json, logging, multiprocessing, os, signal, sys, warnings

def state():
    found = {
        "environment": dict(os.environ),
        "warning filters": [tuple(map(repr, each)) for each in warnings.filters],
        "exit hooks": atexit._ncallbacks(),
        "signal handlers": {str(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "start method": multiprocessing.get_start_method(allow_none=True),
        "root logger": (logging.root.level, [repr(handler) for handler in logging.root.handlers]),
        "exception hook": repr(sys.excepthook),
    }
    if "matplotlib" in sys.modules:
        settings = dict.items(sys.modules["matplotlib"].rcParams)  # its own items would choose a backend
        found["matplotlib's settings"] = {key: repr(value) for key, value in settings}
    if "torch" in sys.modules:
        found["torch's threads"] = sys.modules["torch"].get_num_threads()
    if "cv2" in sys.modules:
        found["OpenCV's threads"] = sys.modules["cv2"].getNumThreads()
    return found

libraries, modules = json.loads(sys.argv[1])
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import asks a server otherwise
for name in libraries:
    importlib.import_module(name)
del os.environ["NO_ALBUMENTATIONS_UPDATE"]

changes = []
for name in modules:
    loaded, before = set(sys.modules), state()
    importlib.import_module(name)
    after = state()
    for kind, value in before.items():
        if after[kind] != value:
            first = sorted(other for other in set(sys.modules) - loaded if other in modules)
            changes.append(f"import {name} changes the {kind} (imported with it for the first time: {first})")
print(json.dumps(changes))
"""


def changes_by(modules: Iterable[str], libraries: Iterable[str], folder: Path) -> list[str]:
    """What the modules change, that are found from a folder; libraries are imported first."""
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    command = [sys.executable, "-c", SCRIPT, json.dumps([list(libraries), list(modules)])]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def module_names() -> list[str]:
    """Every module of the packages, those below first."""
    paths = [path for room in BELOW for path in sorted((REPO / room).rglob("*.py"))]
    names = [path.relative_to(REPO).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def library_names() -> list[str]:
    """What the modules import of other packages, inside of functions too; those that are not installed apart."""
    names = set()
    for room in BELOW:
        for path in (REPO / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names.add(str(node.module))
    others = {name for name in names if name.partition(".")[0] not in {*BELOW, *sys.stdlib_module_names}}
    return sorted(name for name in others if importlib.util.find_spec(name.partition(".")[0]))


@pytest.mark.slow
def test_importing_a_module_changes_nothing():
    modules = module_names()
    assert len(modules) > 100
    changes = changes_by(modules, library_names(), REPO)
    assert not changes, "\n".join(changes)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import os; os.environ['A'] = 'b'", "environment"),
        ("import warnings; warnings.simplefilter('ignore')", "warning filters"),
        ("import atexit; atexit.register(list)", "exit hooks"),
        ("import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "signal handlers"),
        ("import multiprocessing; multiprocessing.set_start_method('spawn')", "start method"),
        ("import logging; logging.basicConfig(level=0)", "root logger"),
        ("import sys; sys.excepthook = print", "exception hook"),
        ("import matplotlib; matplotlib.rcParams['lines.linewidth'] = 7", "matplotlib's settings"),
    ],
)
def test_a_change_is_noticed(tmp_path: Path, code: str, kind: str):
    (tmp_path / "innocent.py").write_text("answer = 42\n")
    (tmp_path / "culprit.py").write_text(f"{code}\n")
    changes = changes_by(["innocent", "culprit"], ["matplotlib"] if "matplotlib" in kind else [], tmp_path)
    assert changes == [
        f"import culprit changes the {kind} (imported with it for the first time: {['culprit']})",
    ]
