"""A run's network in a real MLflow server: LoggedModel, registry, loading, serving; and networks in other formats."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import requests
from mlflow.entities import Dataset, DatasetInput
from mlflow.tracking import MlflowClient

from covidmt.exporting.export import export
from covidmt.exporting.package import example_film
from covidmt.tracking.checkpoints import find_checkpoint
from experiments.errors import UserError
from tests.helpers.mlflow_server import free_port, mlflow_server, save_checkpoint, wait_until_answers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    mlflow.set_tracking_uri(address)
    return MlflowClient(address)


def trained_run(client: MlflowClient, name: str, loss: float, seed: int = 0) -> str:
    """A run as a training leaves it: metrics, a data set, a tag, its checkpoint in the run folder."""
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    run_id = client.create_run(experiment_id).info.run_id
    client.log_metric(run_id, "val/covidx/loss", loss + 1, step=0)
    client.log_metric(run_id, "val/covidx/loss", loss, step=1)
    client.log_metric(run_id, "val/covidx/loss", loss + 2, step=2)
    client.log_metric(run_id, "test/pi_score", 2.5, step=1)
    client.set_tag(run_id, "best_epoch", "1")
    client.set_tag(run_id, "shortcuts", "COVID-19 is given away by source: 99% of its images are cohen.")
    profile = json.dumps({"num_rows": 3, "train": {"images": 3, "COVID-19": 1}})
    client.log_inputs(run_id, [DatasetInput(Dataset("covidx", "d1", "local", "{}", "{}", profile))])
    client.log_text(
        run_id, "demo: best\n\n|  |  | best val |\n| --- | --- | ---: |\n| PI | PI score | 2.50 |\n", "summary.md"
    )
    save_checkpoint(Path("mlruns/checkpoints") / run_id / "best.ckpt", seed)
    return run_id


@pytest.mark.filterwarnings("ignore:.*transition_model_version_stage")
def test_a_logged_model_is_linked_loaded_and_registered_and_the_best_has_the_alias(client: MlflowClient):
    first, second, third = (trained_run(client, "alias", loss, seed) for seed, loss in enumerate((0.5, 0.3, 0.4)))
    uris = [export(run, register="chest") for run in (first, second, third)]

    # LoggedModel: of its run, with the metrics of its epoch alone, on their data set
    experiment = client.get_experiment_by_name("alias")
    assert experiment
    models = {model.model_id: model for model in client.search_logged_models([experiment.experiment_id])}
    model = models[uris[1].removeprefix("models:/")]
    assert (model.source_run_id, str(model.status)) == (second, "READY")
    metrics = {metric.key: metric for metric in model.metrics or []}
    assert metrics["val/covidx/loss"].value == 0.3
    assert (metrics["val/covidx/loss"].dataset_name, metrics["val/covidx/loss"].dataset_digest) == ("covidx", "d1")
    assert metrics["test/pi_score"].value == 2.5
    assert [output.model_id for output in client.get_run(second).outputs.model_outputs] == [model.model_id]
    assert [m.step for m in client.get_metric_history(second, "val/covidx/loss")] == [0, 1, 2]  # none twice

    # card
    card = model.tags["mlflow.note.content"]
    for words in (
        "not a medical device",
        "given away by source",
        "| covidx | train | 3 | COVID-19 1 |",
        "2.50",
        "Licence",
    ):
        assert words in card
    assert Path(mlflow.artifacts.download_artifacts(f"{model.artifact_location}/model_card.md")).read_text() == card

    # registry: the lowest loss, wherever it came in the order
    assert int(client.get_model_version_by_alias("chest", "best").version) == 2
    found = find_checkpoint("models:/chest@best")
    assert found.run_id == second
    assert found.path.read_bytes() == Path(f"mlruns/checkpoints/{second}/best.ckpt").read_bytes()
    assert find_checkpoint("models:/chest/1").run_id == first

    # loaded by its alias, and by a stage; bytes and base64 alike
    film = example_film()
    rows = pd.DataFrame({"image": [film, base64.b64encode(film).decode(), b"no film"]})
    answers = mlflow.pyfunc.load_model("models:/chest@best").predict(rows)
    assert answers[0] | {"image": ""} == answers[1] | {"image": ""}
    assert answers[0]["channels"]["whatsapp"].keys() == {"answer", "probability", "survives"}
    assert "image 3: not a readable image" in answers[2]["error"]
    client.transition_model_version_stage("chest", "2", "Production")
    staged = mlflow.pyfunc.load_model("models:/chest/Production").predict(rows[:1])
    assert staged[0]["probability"] == answers[0]["probability"]


def test_mlflow_models_serve_answers(client: MlflowClient, address: str, tmp_path: Path):
    uri = export(trained_run(client, "serve", 0.5))
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "-p", str(port), "--env-manager", "local"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": address,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = tmp_path / "serve.log"
    process = subprocess.Popen(command, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT)
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/health", process)
        body = {"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(example_film()).decode()]]}}
        response = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=120)
    finally:
        process.terminate()
        process.wait(30)
        print(log.read_text())
    assert response.status_code == 200
    (answer,) = response.json()["predictions"]
    assert 0 <= answer["probability"] <= 1
    assert answer["iol"] is None or 0 <= answer["iol"] <= 1


def test_what_cannot_be_exported_is_said(client: MlflowClient, tmp_path: Path, address: str):
    save_checkpoint(tmp_path / "mine.ckpt")
    with pytest.raises(UserError, match="which run trained this checkpoint is not known; --out DIR"):
        export(str(tmp_path / "mine.ckpt"))
    with pytest.raises(UserError, match="--register: only a model in the store"):
        export(str(tmp_path / "mine.ckpt"), register="chest", out=tmp_path / "out")
    with pytest.raises(UserError, match="models:/absent@best: cannot be had from"):
        export("models:/absent@best")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    with pytest.raises(UserError, match="is there already"):
        export(str(tmp_path / "mine.ckpt"), kind="safetensors", out=tmp_path / "full")


def test_a_checkpoint_without_a_run_becomes_a_folder(client: MlflowClient, tmp_path: Path):
    save_checkpoint(tmp_path / "mine.ckpt")
    folder = export(str(tmp_path / "mine.ckpt"), out=tmp_path / "model", segmenter=None)
    (answer,) = mlflow.pyfunc.load_model(folder).predict(pd.DataFrame({"image": [example_film()]}))
    assert answer["lung_share"] is None
    assert "not a medical device" in (tmp_path / "model" / "model_card.md").read_text()
