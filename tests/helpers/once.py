"""What is slow to make and only read: made once for all of pytest's workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of this name that ``make`` has filled, in this process or in another worker's.

    A worker that is killed within ``make`` leaves what it has made, and the next one begins anew beside it.
    """
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    made = shared / name
    with FileLock(f"{made}.lock"):
        if not made.exists():
            building = factory.mktemp(name)
            make(building)
            building.rename(made)
    return made
