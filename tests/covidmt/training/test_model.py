"""A training's network as the run's model, through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from covidmt.exporting.package import example_film
from covidmt.tracking.models.registry import MODEL
from tests.covidmt.training.test_train import SMALL, runs

pytestmark = pytest.mark.slow


def test_a_training_leaves_a_model_with_card_metrics_and_a_name(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path
):
    assert covidmt("train", *SMALL, f"data.root={demo_data}", "tracking.register=chest") == 0
    (run,) = runs(tmp_path)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.source_run_id, str(model.status)) == (run.info.run_id, "READY")
    assert client.get_model_version_by_alias("chest", "best").tags[MODEL] == model.model_id

    # what is known of it
    linked = {metric.key: metric.dataset_name for metric in model.metrics or []}
    assert linked["val/covidx/loss"] == "covidx"
    assert linked["test/pi_score"] == "wacxr"
    card = (Path(model.artifact_location) / "model_card.md").read_text()
    for words in ("PI score, %", "| nih | train |", "not a medical device", run.info.run_id):
        assert words in card
    assert (Path(run.info.artifact_uri) / "summary.md").read_text().strip() in card
    assert run.data.tags["shortcuts"]

    # one copy of the weights, whatever their names
    best = tmp_path / "mlruns" / "checkpoints" / run.info.run_id / "best.ckpt"
    assert best.stat().st_nlink == 3
    assert best.samefile(Path(model.artifact_location) / "data" / "best.ckpt")

    loaded = mlflow.pyfunc.load_model(model.artifact_location)
    (answer,) = loaded.predict(pd.DataFrame({"image": [example_film()]}))
    assert 0 <= answer["probability"] <= 1


def test_a_training_without_its_checkpoint_logged_leaves_no_model_and_cannot_register_one(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    assert covidmt("train", *SMALL, f"data.root={demo_data}", "tracking.log_checkpoint=false",
                   "tracking.register=chest") == 2  # fmt: skip
    assert "tracking.register: needs tracking.log_checkpoint=true" in capfd.readouterr().err
    assert covidmt("train", *SMALL, f"data.root={demo_data}", "tracking.register=a/b") == 2
    assert "tracking.register: 'a/b' is no name" in capfd.readouterr().err
