"""Curves of a training from a real store's metric history."""

import numpy as np
import pytest

from covidmt.evaluation.evaluate import read_history
from covidmt.evaluation.networks import Network
from covidmt.tracking.history import training_history
from covidmt.tracking.store import Store
from experiments.schema import Experiment


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """URI, and a run of two epochs: training logged at steps 1, 3 and 5, validation at epochs 0 and 1."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
    store.prepare()
    client = store.client
    run_id = client.create_run(store.open_experiment("covidmt")).info.run_id
    logged = {
        "epoch": {1: 0, 3: 0, 5: 1},
        "train/covidx/loss": {1: 3.0, 3: 1.0, 5: 0.5},
        "train/covidx/accuracy": {1: 0.5, 3: np.nan, 5: 0.75},
        "val/covidx/loss": {0: 1.5, 1: np.inf},
        "val/other/accuracy": {0: 0.9},
    }
    for key, points in logged.items():
        for step, value in points.items():
            client.log_metric(run_id, key, value, step=step)
    return store, run_id


def test_means_of_epochs(store: tuple[str, str]):
    found = {key: values.to_dict() for key, values in training_history(*store, "covidx").items()}
    assert found == {
        "train/loss": {0: 2.0, 1: 0.5},  # (3 + 1) / 2
        "train/accuracy": {0: 0.5, 1: 0.75},
        "val/loss": {0: 1.5},
    }


def test_why_there_are_none(store: tuple[str, str]):
    tracking, run_id = store
    own = Experiment()
    for run, why in ((run_id, ""), (None, "a checkpoint file of no known run"), ("0" * 32, "no metric history in")):
        history, note = read_history(Network("one", run, own, own, own, None), tracking)  # ty: ignore
        assert bool(history) == (not why)
        assert bool(note) == bool(why)
        assert why in (note or "")
