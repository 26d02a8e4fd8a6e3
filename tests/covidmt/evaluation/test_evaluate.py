"""``covidmt evaluate`` through the command line, on made-up data and a network that has learnt nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from covidmt.evaluation.evaluate import pair_notes
from datamodules.evaluation import EvaluationDataModule
from datamodules.sources.table import load_tables
from experiments.load import load_experiment, override, to_dict
from lightning_modules.multitask import MultiTaskModule
from tests.conftest import REPO

pytestmark = pytest.mark.slow

QUICK = ["data.num_workers=0", "trainer.accelerator=cpu", "--resamples", "200", "--channel-limit", "3"]


@pytest.fixture(scope="module")
def checkpoints(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of one experiment; a third that was trained on something else."""
    paths = []
    for seed, jpeg in ((0, 0), (1, 0), (2, 0.5)):
        settings = [f"data.root={demo_data}", "data.image_size=64", "robustness.batch_size=2", f"seed={seed}"]
        settings += [f"data.augment.jpeg={jpeg}"]
        experiment = load_experiment(REPO / "experiments" / "demo.yaml", settings)
        torch.manual_seed(seed)
        module = MultiTaskModule(experiment)
        with torch.no_grad():  # answers on both sides of the threshold, heat maps that are not empty
            module.head("covidx")[-1].weight.mul_(20)
        path = tmp_path_factory.mktemp("checkpoints") / f"seed{seed}.ckpt"
        torch.save({"state_dict": module.state_dict(), "experiment": to_dict(experiment)}, path)
        paths.append(path)
    return paths


def result(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def test_files_say_the_same_and_go_to_a_run(covidmt: Callable[..., int], checkpoints: list[Path], tmp_path: Path):
    against = ["--against", checkpoints[1], "--against", checkpoints[2]]
    assert covidmt("evaluate", checkpoints[0], *QUICK, "--channel", "telegram", *against) == 0
    folder = tmp_path / "mlruns" / "evaluations" / "seed0" / "wacxr-test-against-seed1-seed2"
    found, table = result(folder), pd.read_csv(folder / "pairs.csv")
    first, second, third = found["runs"]
    scores = first["scores"]
    assert found["pairs"]["n"] == len(table) == scores["pi/score"]["n"]
    flips = (table["p_original"] >= 0.5) != (table["p_received"] >= 0.5)
    assert scores["pi/score"]["value"] == pytest.approx(100 * flips.mean())
    for side in ("original", "received"):
        known = table[f"iol_{side}"].dropna()
        assert scores[f"ols/{side}/score"]["n"] == len(known) > 0
        assert scores[f"ols/{side}/score"]["value"] == pytest.approx(100 * (known < 0.4).mean())
        assert scores[f"ols/{side}/mean_iol"]["value"] == pytest.approx(known.mean())
        assert table[f"shuffled_{side}"].isna().equals(table[f"iol_{side}"].isna())
    assert scores["channel/telegram"]["n"] == 3  # --channel-limit
    for score in scores.values():
        if None not in (score["low"], score["high"]):
            assert score["low"] <= score["high"]
    assert second["other_seed"]
    assert not third["other_seed"]
    assert any(
        "was trained otherwise than" in note and "data.augment.jpeg 0.5 against 0" in note for note in found["notes"]
    )
    assert second["difference"]["pi/score"]["value"] == pytest.approx(
        scores["pi/score"]["value"] - second["scores"]["pi/score"]["value"]
    )
    assert any("it is a checkpoint file of no known run" in note for note in found["notes"])
    assert {"task/covidx/accuracy", "task/rsna_boxes/map", "task/nodule/auroc"} <= scores.keys()
    assert (folder / "report.html").stat().st_size > 0

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("covidmt").experiment_id])
    assert run.data.metrics["robustness/wacxr-test/pi/score"] == pytest.approx(scores["pi/score"]["value"])
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, f"evaluation/{folder.name}")}
    assert {f"evaluation/{folder.name}/{name}" for name in ("evaluation.json", "pairs.csv", "report.html")} <= artifacts


def test_two_processes_score_as_one(checkpoints: list[Path], tmp_path: Path):
    """Five pairs: an odd number, every one counted once."""
    found = {}
    for devices in (1, 2):
        subprocess.run(
            [
                *(sys.executable, "-m", "covidmt", "evaluate", str(checkpoints[0]), *QUICK, "data.pairs.limit=5"),
                *("--split", "val", "--out", str(tmp_path / str(devices)), f"trainer.devices={devices}"),
                "trainer.strategy=" + ("ddp" if devices == 2 else "auto"),
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPO)},
            check=True,
            timeout=500,
        )
        found[devices] = result(tmp_path / str(devices))
    one, two = (found[devices]["runs"][0]["scores"] for devices in (1, 2))
    assert one["pi/score"]["n"] == 5
    assert one.keys() == two.keys()
    for key, score in one.items():
        exact = key.startswith("pi/score") or key.endswith("/score")
        for name, value in score.items():  # null, or a reason, where there is no interval
            near = pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) and not exact else value
            assert two[key][name] == near, (key, name)
    tables = [pd.read_csv(tmp_path / str(devices) / "pairs.csv") for devices in (1, 2)]
    assert tables[0]["id"].tolist() == tables[1]["id"].tolist()
    np.testing.assert_array_equal(tables[0]["iol_original"], tables[1]["iol_original"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.backbone=resnet50"], "evaluation takes data, robustness, tracking, trainer only"),
        (["--pairs", "nowhere"], "neither a source of the experiment"),
        (["--channel", "pigeon"], "--channel"),
        (["data.root=nowhere"], "nowhere"),
        (["robustness.label=flu"], "no label 'flu'"),
        (["robustness.layer=backbone.layer9"], "robustness.layer"),
        (["--out", "/proc/nowhere"], "choose another --out"),
    ],
)
def test_mistakes(
    covidmt: Callable[..., int],
    checkpoints: list[Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    assert covidmt("evaluate", checkpoints[0], *QUICK, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_missing_data_set_leaves_its_task_out(
    covidmt: Callable[..., int], checkpoints: list[Path], demo_data: Path, tmp_path: Path
):
    arguments = ["data.sources.nih.root=nowhere", "--pairs", demo_data / "wacxr", "--out", tmp_path / "out"]
    assert covidmt("evaluate", checkpoints[0], *QUICK, *arguments) == 0
    found = result(tmp_path / "out")
    assert "task nodule is left out: no folder nowhere" in found["notes"]
    assert not any(key.startswith("task/nodule") for key in found["runs"][0]["scores"])
    assert found["pairs"]["source"] == str(demo_data / "wacxr")


def test_pairs_alone_are_enough(covidmt: Callable[..., int], checkpoints: list[Path], demo_data: Path, tmp_path: Path):
    """On a machine without any of the training's data sets."""
    arguments = [
        "data.root=nowhere",
        "data.masks.folders=[]",
        "--pairs",
        demo_data / "wacxr",
        "--out",
        tmp_path / "out",
    ]
    assert covidmt("evaluate", checkpoints[0], *QUICK, *arguments) == 0
    found = result(tmp_path / "out")
    scores = found["runs"][0]["scores"]
    assert scores["pi/score"]["n"] > 0
    assert scores["ols/original/score"]["n"] == 0  # demo.yaml has no segmenter
    assert any("splits can differ" in note for note in found["notes"])


def test_patients_of_the_training_are_counted(
    covidmt: Callable[..., int], checkpoints: list[Path], demo_data: Path, tmp_path: Path
):
    """Pairs made of training images, whose names tell their patients."""
    images = tmp_path / "images" / "1_COVID-19"
    images.mkdir(parents=True)
    table = load_tables(load_experiment(REPO / "experiments" / "demo.yaml", [f"data.root={demo_data}"]).data)["covidx"]
    for path in table[table["split"] == "train"]["image"].head(3):
        shutil.copy(path, images)
    assert covidmt("pairs", "make", tmp_path / "images", tmp_path / "pairs", "--processes", 1) == 0
    arguments = ["--pairs", tmp_path / "pairs", "--out", tmp_path / "out", "data.masks.folders=[]"]
    assert covidmt("evaluate", checkpoints[0], *QUICK, *arguments) == 0
    assert any("are in the training split" in note for note in result(tmp_path / "out")["notes"])


def test_a_saved_experiment_moves_with_its_root(demo_data: Path):
    experiment = load_experiment(REPO / "experiments" / "demo.yaml", [f"data.root={demo_data}"])
    moved = override(experiment, ["data.root=/elsewhere", "data.sources.nih.root=/nih"], "test")
    assert moved.data.sources["covidx"].root == "/elsewhere/covidx"
    assert moved.data.sources["nih"].root == "/nih"
    assert all(folder.startswith("/elsewhere") for folder in moved.data.masks.folders)
    assert experiment.data.root == str(demo_data)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_broken_checkpoint_is_one_message(
    covidmt: Callable[..., int],
    checkpoints: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    demo_data: Path,
    command: str,
):
    saved = torch.load(checkpoints[0], weights_only=True)
    name = next(name for name, value in saved["state_dict"].items() if value.is_floating_point())
    saved["state_dict"][name].fill_(torch.nan)
    torch.save(saved, tmp_path / "broken.ckpt")
    image = next((demo_data / "wacxr").rglob("*.png"))
    assert covidmt(command, "broken.ckpt", *([image] if command == "predict" else QUICK)) == 2
    message = capsys.readouterr().err
    assert f"its network is broken: 1 of its tensors hold NaN or infinite values, the first is {name}" in message
    assert not (tmp_path / "predictions").exists()


def test_pairs_of_other_tasks_that_came_another_way_are_named(demo_data: Path):
    """The decision's were received, the others' are simulated; in validation all are."""
    overrides = [f"data.root={demo_data}", "data.image_size=32", "data.num_workers=0"]
    notes = {}
    for split in ("test", "val"):
        experiment = load_experiment(REPO / "experiments" / "demo.yaml", overrides)
        data = EvaluationDataModule(experiment, split, [], 5, None)
        data.setup()
        notes[split] = pair_notes(data)
    assert notes["val"] == []
    of_boxes, of_findings = notes["test"]
    assert of_boxes.startswith("the stability of rsna_boxes is that of 5 pairs of rsna, through whatsapp (simulated): ")
    assert of_findings.startswith(
        "the stability of infiltration, effusion, atelectasis, nodule is that of 5 pairs of nih, "
    )
