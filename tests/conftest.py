"""Shared by all rooms: made-up data, the real X-rays where they are at hand, the command line in this process."""

from __future__ import annotations

import atexit
import gc
import multiprocessing.util
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning.pytorch  # noqa: F401  binds its log handler to the real stderr, before pytest captures a test's
import pytest
import torch
from hypothesis import Phase, settings

from tests.helpers.once import made_once

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two pytest workers share two cores: what they start
torch.set_num_threads(1)  # and they themselves

settings.register_profile("fuzz", max_examples=1400)  # make fuzz; else 100

settings.register_profile(  # make mutation: the same examples for every mutant; what fails need not become small
    "mutation", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
)

# What starts the tests in the background (a shell's &, nohup) has them ignore these; tests send them to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# This process's folder for sockets, made once: a test that has temporary files elsewhere would give it a path too long.
multiprocessing.util.get_temp_dir()

REPO = Path(__file__).parents[1]


def pytest_collection_finish() -> None:
    """Libraries and tests stay: looking through them for garbage time and again took a tenth of the time."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)


@pytest.fixture(scope="session")
def mini_cxr() -> Path:
    """Real X-rays in each data set's own layout; not part of the project."""
    root = REPO.parent / "shared" / "mini-cxr"
    if not root.is_dir():
        pytest.skip("the real X-rays (../shared/mini-cxr) are not on this machine")
    return root


@pytest.fixture(scope="session")
def shared() -> Path:
    """Cases and real X-rays beside the project; not part of it."""
    root = REPO.parent / "shared"
    if not root.is_dir():
        pytest.skip("the cases (../shared) are not on this machine")
    return root


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up data sets, small: made once, and only read."""
    from datamodules.demo.write import write_demo

    return made_once(tmp_path_factory, "demo-data", lambda root: write_demo(root, seed=0, size=96, patients=100))


@pytest.fixture(scope="session", autouse=True)
def copied_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], None]]:
    """A new sqlite store is a copy of one that MLflow has built, which takes it seconds; yields the real builder."""
    from covidmt.tracking import store as tracking

    build = tracking._create_database

    def copy(path: Path) -> None:
        built = made_once(tmp_path_factory, "new-store", lambda folder: build(folder / "mlflow.db")) / "mlflow.db"
        building = path.with_name(".building")
        shutil.copyfile(built, building)
        building.rename(path)

    tracking._create_database = copy
    yield build
    tracking._create_database = build


@pytest.fixture
def covidmt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs ``covidmt ARGUMENTS`` in this process, in an empty working folder; returns the exit status."""
    from covidmt.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["covidmt", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return int(exit_.value.code or 0)

    return run
