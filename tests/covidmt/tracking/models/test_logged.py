"""A model's way through the spool into a real store: once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from covidmt.exporting.package import write_model
from covidmt.tracking.models.logged import EVENT, ModelEntry
from covidmt.tracking.models.registry import MODEL
from covidmt.tracking.spool import Spool
from covidmt.tracking.store import Store
from tests.helpers.mlflow_server import save_checkpoint


@pytest.fixture
def spool(new_spool: Callable[[], Spool], tmp_path: Path) -> Spool:
    """Holds a model that has not been sent."""
    save_checkpoint(tmp_path / "best.ckpt")
    spool = new_spool()
    spool.append("metrics", points=[["val/loss", 0.5, 1000, 3], ["val/loss", 0.7, 2000, 4]])
    file = spool.add_file("model", lambda folder: write_model(folder, tmp_path / "best.ckpt", "the card"))
    entry = ModelEntry("the card", 3, {"val/loss": "covidx"}, register="spooled", monitor="val/loss")
    spool.append("model", file=file, entry=asdict(entry))
    return spool


def send_all(spool: Spool, client: MlflowClient) -> None:
    while spool.send(client):
        pass


def models_of(client: MlflowClient, run_id: str) -> list[mlflow.entities.LoggedModel]:
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"))


def test_a_model_is_sent_with_its_metrics_and_leaves_the_spool(spool: Spool, client: MlflowClient, store: Store):
    send_all(spool, client)
    (model,) = models_of(client, spool.run_id)
    assert (str(model.status), model.tags["mlflow.note.content"]) == ("READY", "the card")
    assert [(metric.key, metric.value, metric.step) for metric in model.metrics or []] == [("val/loss", 0.5, 3)]
    assert len(client.get_metric_history(spool.run_id, "val/loss")) == 2
    assert list((spool.folder / "files").iterdir()) == []
    description = mlflow.models.Model.load(model.artifact_location)
    assert (description.run_id, description.model_id) == (spool.run_id, model.model_id)


@pytest.mark.parametrize(
    "call", ["log_model_artifacts", "finalize_logged_model", "log_outputs", "create_model_version"]
)
def test_a_store_that_dies_in_between_gets_it_once(spool: Spool, client: MlflowClient, call: str, monkeypatch):
    def die(*args: object, **kwargs: object) -> None:
        raise ConnectionError("the store is gone")

    with monkeypatch.context() as broken:
        broken.setattr(client, call, die)
        with pytest.raises(ConnectionError):
            send_all(spool, client)
    assert spool.pending

    send_all(spool, client)
    (model,) = models_of(client, spool.run_id)
    assert str(model.status) == "READY"
    assert len(client.get_run(spool.run_id).outputs.model_outputs) == 1
    versions = client.search_model_versions("name = 'spooled'")
    assert [version.tags[MODEL] for version in versions].count(model.model_id) == 1


def test_what_was_taken_but_not_confirmed_counts_once(spool: Spool, client: MlflowClient):
    events = spool.artifacts()
    assert events == []
    confirm, spool._confirm = spool._confirm, lambda sent: None  # killed before it was noted
    kept = list((spool.folder / "files").iterdir())
    assert kept
    spool.send(client)
    spool._confirm = confirm
    send_all(spool, client)
    (model,) = models_of(client, spool.run_id)
    assert EVENT in model.tags
