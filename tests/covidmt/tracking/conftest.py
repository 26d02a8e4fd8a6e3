"""A real store, and spools of new runs in it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from covidmt.tracking.spool import Spool
from covidmt.tracking.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
    store.prepare()
    return store


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return store.client


@pytest.fixture
def new_spool(store: Store, client: MlflowClient, tmp_path: Path) -> Callable[[], Spool]:
    def new() -> Spool:
        run = client.create_run(store.open_experiment("spool"))
        return Spool(tmp_path / "spool" / run.info.run_id, store)

    return new
