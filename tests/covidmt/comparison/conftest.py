"""A store for made-up runs, shared by the tests of a module."""

import pytest

from tests.helpers.sweeps import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A project's own store, empty at first."""
    return Store(tmp_path_factory.mktemp("project"))
