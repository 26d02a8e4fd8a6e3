"""``covidmt pretrain`` through the command line, on made-up films; its weights begin a training."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch

from experiments.schema import Model
from lightning_modules.networks.backbones import build_backbone

pytestmark = pytest.mark.slow


def test_films_become_weights_that_a_training_begins_with(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = [f"data.root={demo_data}", "data.image_size=64", "data.num_workers=0", "batch_size=8"]
    settings += ["model={backbone: 'timm:test_resnet', pretrained: false}", "tracking.system_metrics=false"]
    settings += ["trainer={max_epochs: 1, limit_train_batches: 2, accelerator: cpu, log_every_n_steps: 1}"]
    assert covidmt("pretrain", "experiments/pretrain.yaml", *settings) == 0
    out = capsys.readouterr().out
    (path,) = (tmp_path / "mlruns" / "checkpoints").glob("*/backbone.pth")
    assert f"model.weights={path}" in out
    assert "find their partner" in out
    (line,) = (line for line in out.splitlines() if line.startswith("epoch 1/1"))
    assert "validation loss" in line
    assert "retrieval" in line

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    run = client.get_run(path.parent.name)
    assert run.info.status == "FINISHED"
    assert {"train/loss", "val/loss", "val/retrieval"} <= run.data.metrics.keys()
    assert int(run.data.params["films"]) > 8
    assert [file.path for file in client.list_artifacts(run.info.run_id, "checkpoints")] == ["checkpoints/backbone.pth"]

    loaded = build_backbone(Model(backbone="timm:test_resnet", weights=str(path)), 64).network.state_dict()
    saved = torch.load(path, weights_only=True)
    assert all(torch.equal(loaded[name], saved[name]) for name in saved if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("views.crop=0", "views.crop: must be above 0 and at most 1, is 0"),
        ("batch_size=100000", "batch_size: 100000 is more than the"),
        ("model.backbone=resnet51", "no network 'resnet51'"),
        ("data.root=nowhere", "no folder nowhere/"),
        ("robustness.eta=0.4", "unknown key 'robustness'"),
        ("trainer.max_epochs=0", "no step was done"),
    ],
)
def test_mistakes(
    covidmt: Callable[..., int], demo_data: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
):
    settings = [f"data.root={demo_data}", "data.image_size=64", "data.num_workers=0", "batch_size=8"]
    settings += ["model={backbone: 'timm:test_resnet', pretrained: false}", "trainer.accelerator=cpu"]
    assert covidmt("pretrain", "experiments/pretrain.yaml", *settings, override) == 2
    assert message in capsys.readouterr().err
