"""Every shipped experiment, through the command line: one tiny epoch on made-up data with the real tracking store."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from experiments.load import SHIPPED, load_experiment

EXPERIMENTS = sorted(p.name for p in SHIPPED.glob("*.yaml") if not p.name.startswith("lungs_"))
LUNGS = sorted(p.name for p in SHIPPED.glob("lungs_*.yaml"))
TINY = [
    "data.image_size=64",
    "data.num_workers=0",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_for_one_tiny_epoch(
    name: str, covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    overrides = [
        *TINY,
        f"data.root={demo_data}",
        "model.pretrained=false",
        "model.weights=null",
        "data.pairs.limit=2",
        f"data.masks={{folders: [{demo_data}/lungs/masks], segmenter: null}}",
        "trainer.limit_test_batches=1",
        "robustness.overlays=1",
    ]
    assert covidmt("train", f"experiments/{name}", *overrides) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (run,) = client.search_runs(["1"])
    assert run.info.status == "FINISHED"
    experiment = load_experiment(SHIPPED / name)
    metrics = run.data.metrics
    for task in experiment.active:
        assert f"train/{task.name}/loss" in metrics
        assert f"val/{task.name}/loss" in metrics
    for split in ("val", "test"):
        assert 0 <= metrics[f"{split}/pi_score"] <= 100
        assert f"{split}/pairs" in metrics
    assert run.data.params["n_tasks"] == str(len(experiment.active))
    pictures = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "images")}
    assert any("gradcam" in path for path in pictures)
    out = capsys.readouterr().out
    assert "PI score" in out
    assert run.info.run_id in out


@pytest.mark.parametrize("name", LUNGS)
def test_a_lungs_experiment_runs_for_one_tiny_epoch(name: str, covidmt: Callable[..., int], demo_data: Path):
    overrides = [*TINY, f"data.root={demo_data}", "model.encoder_weights=null", "model.weights=null"]
    if name == "lungs_covidmt.yaml":
        made = f"{{root: {demo_data}/lungs, table: pairs.csv, images: images}}"
        overrides += [f"data.folders.{folder}={made}" for folder in ("exact", "cropfit", "synthetic")]
    assert covidmt("lungs", "train", f"experiments/{name}", *overrides) == 0
