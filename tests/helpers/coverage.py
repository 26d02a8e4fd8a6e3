"""The simulations of ``benchmarks/coverage.py``, which is no package."""

import importlib.util
from types import ModuleType

from tests.conftest import REPO


def simulations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_simulations", REPO / "benchmarks" / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
