"""What differs between two runs' settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidmt.tracking.runs.settings import read_settings, setting_differences
from covidmt.tracking.store import Store
from experiments.errors import UserError


def test_lists_absent_keys_and_types():
    first = {"tasks": {"a": {"labels": [1, 2]}}, "seed": 1, "weights": None}
    second = {"tasks": {"a": {"labels": [1, 3]}}, "seed": "1"}
    assert setting_differences(first, second) == [("tasks.a.labels", "[1, 2]", "[1, 3]"), ("weights", "None", "-")]


def test_a_run_without_settings(tmp_path: Path):
    store = Store(f"sqlite:///{tmp_path}/runs.db")
    store.prepare()
    run = store.client.create_run("0")
    with pytest.raises(UserError, match=r"it has no experiment\.yaml in sqlite:///.*settings are unknown"):
        read_settings(run, store)
