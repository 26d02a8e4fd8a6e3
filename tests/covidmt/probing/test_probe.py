"""``covidmt probe`` through the command line, on made-up data and a network that has learnt nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch

from experiments.load import SHIPPED, load_experiment, to_dict
from lightning_modules.multitask import MultiTaskModule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = [f"data.root={demo_data}", "data.image_size=64", "data.num_workers=0", "trainer.accelerator=cpu"]
    experiment = load_experiment(SHIPPED / "demo.yaml", [*settings, "active_tasks=[covidx,effusion,rsna_boxes]"])
    torch.manual_seed(0)
    module = MultiTaskModule(experiment)
    path = tmp_path_factory.mktemp("probe") / "seed0.ckpt"
    torch.save({"state_dict": module.state_dict(), "experiment": to_dict(experiment)}, path)
    return path


def test_column_disease_within_each_value_and_few_shots(
    covidmt: Callable[..., int], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--column", "origin", "--shots", "1", "3", "--draws", "5", "--resamples", "100", "--out", "found"]
    assert covidmt("probe", checkpoint, *arguments) == 0
    found = json.loads((tmp_path / "found" / "probe.json").read_text())
    probes, out = found["linear"], capsys.readouterr().out
    assert list(probes)[:2] == ["origin", "covidx"]
    assert all(0 <= probe["accuracy"]["value"] <= 1 for probe in probes.values())
    assert probes["covidx"]["classes"] == ["COVID-19", "normal", "pneumonia"]
    within = [name for name in probes if name.startswith("covidx within ")]
    assert within
    assert all(probes[name]["train"] < probes["covidx"]["train"] for name in within)
    assert [point["k"] for point in found["shots"]["covidx"]] == [1, 3]
    assert "k = 3" in out

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("covidmt").experiment_id])
    assert run.data.metrics["probe/origin/accuracy"] == pytest.approx(probes["origin"]["accuracy"]["value"])
    assert run.data.metrics["probe/covidx/shots/3"] == pytest.approx(found["shots"]["covidx"][1]["accuracy"])
    assert [file.path for file in client.list_artifacts(run.info.run_id, "probe")] == ["probe/probe.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "orign"], "no text column 'orign'; did you mean 'origin'?"),
        (["--task", "rsna_boxes"], "no classification task 'rsna_boxes'; it has covidx, effusion"),
        (["--shots", "0", "5"], "takes whole numbers from 1 on"),
        (["--shots", "many"], "takes whole numbers from 1 on"),
        (["model.backbone=resnet50"], "evaluation takes data, robustness, tracking, trainer only"),
        (["--out", "/proc/nowhere"], "choose another --out"),
    ],
)
def test_mistakes(
    covidmt: Callable[..., int],
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    assert covidmt("probe", checkpoint, *arguments) == 2
    assert message in capsys.readouterr().err
