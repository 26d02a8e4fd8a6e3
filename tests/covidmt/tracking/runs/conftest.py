"""The working folder's own store, without runs."""

from pathlib import Path

import pytest

from covidmt.tracking.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    store.prepare()
    return store
