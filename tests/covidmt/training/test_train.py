"""The main job through the command line, on made-up data."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from mlflow.entities import Run

from covidmt.tracking.folders import RunFolder
from covidmt.training.train import _read_start
from experiments.errors import UserError
from experiments.load import SHIPPED
from lightning_modules.load import load_module
from tests.conftest import REPO

pytestmark = pytest.mark.slow

TASKS = ["covidx", "rsna_boxes", "infiltration", "effusion", "atelectasis", "nodule"]
SMALL = [
    "experiments/demo.yaml",
    "data.image_size=64",
    "data.num_workers=0",
    "data.epoch_length=2",
    "data.pairs.limit=5",
    "robustness.overlays=2",
    "robustness.batch_size=2",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=1",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
]


def runs(folder: Path) -> list[Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("covidmt")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def steps(folder: Path, run: Run, key: str) -> list[int]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    return sorted(metric.step for metric in client.get_metric_history(run.info.run_id, key))


@pytest.fixture
def trained(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path) -> tuple[Path, Run]:
    assert covidmt("train", *SMALL, f"data.root={demo_data}") == 0
    (run,) = runs(tmp_path)
    return tmp_path, run


def test_a_run_holds_what_design_6_says(trained: tuple[Path, Run]):
    folder, run = trained
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    assert run.info.status == "FINISHED"
    # training metrics have the global step, validation and test metrics the epoch; none from the sanity check
    assert steps(folder, run, "train/loss") == [0, 1, 2, 3]
    assert steps(folder, run, "val/pi_score") == [0, 1]
    assert steps(folder, run, "val/covidx/loss") == [0, 1]
    assert steps(folder, run, "val/pairs") == [0, 1]
    # of the best epoch's weights
    assert steps(folder, run, "test/pi_score") == [int(run.data.tags["best_epoch"])]
    pictures = [artifact.path for artifact in client.list_artifacts(run.info.run_id, "images")]
    for key in ("gradcam~00", "gradcam~01"):
        shown = [path for path in pictures if key in path and path.endswith(".png")]
        assert sorted(path.split("+")[2] for path in shown)[:2] == ["0", "1"]  # a slider over the epochs
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"experiment.yaml", "environment.txt", "images", "checkpoints"} <= artifacts
    assert run.inputs is not None
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"covidx", "rsna", "nih", "wacxr"}
    assert run.data.params["backbone"] == "resnet18"
    assert run.data.params["n_tasks"] == "6"
    assert run.data.tags["mask_source"] == "folders"
    assert run.data.tags["target"] == "decision"
    assert run.data.tags["decision"] == "COVID-19 where its probability is at least 0.5"
    assert run.info.run_name == "demo"


def test_the_best_checkpoint_is_a_model(trained: tuple[Path, Run]):
    folder, run = trained
    module = load_module(folder / "mlruns" / "checkpoints" / run.info.run_id / "best.ckpt")
    with torch.no_grad():
        output = module(torch.zeros(1, 1, 64, 64, dtype=torch.uint8))
    assert list(output) == TASKS


def test_the_same_seed_gives_the_same_run(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path):
    for _ in range(2):
        assert covidmt("train", *SMALL, f"data.root={demo_data}", "trainer.deterministic=true") == 0
    first, second = (
        {key: value for key, value in run.data.metrics.items() if not key.startswith("system/")}
        for run in runs(tmp_path)
    )
    assert first == second


def test_a_resumed_run_goes_on(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path):
    kept = ["trainer.max_epochs=1", "checkpoint.keep=all"]
    assert covidmt("train", *SMALL, f"data.root={demo_data}", *kept) == 0
    (run,) = runs(tmp_path)
    assert covidmt("train", *SMALL, f"data.root={demo_data}", "--resume", run.info.run_id) == 0
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert steps(tmp_path, run, "train/loss") == [0, 1, 2, 3]
    assert steps(tmp_path, run, "val/pi_score") == [0, 1]


def test_only_a_run_of_this_folder_is_resumed(
    covidmt: Callable[..., int], demo_data: Path, capsys: pytest.CaptureFixture[str]
):
    assert covidmt("train", *SMALL, f"data.root={demo_data}", "--resume", "nothing") == 2
    assert "nothing" in capsys.readouterr().err


def test_a_segmenter_is_trained_once_and_changes_nothing_else(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path
):
    lungs = tmp_path / "lungs_tiny.yaml"
    lungs.write_text(
        f"extends: {SHIPPED}/lungs_demo.yaml\ndata: {{image_size: 32, num_workers: 0}}\n"
        "trainer: {max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, limit_test_batches: 1}\n"
    )
    masks = f"data.masks={{folders: [], segmenter: {lungs}}}"
    for _ in range(2):
        assert covidmt("train", *SMALL, f"data.root={demo_data}", masks) == 0
    second, first = runs(tmp_path)
    assert first.data.metrics["train/loss"] == second.data.metrics["train/loss"]
    assert first.data.tags["mask_source"].startswith("segmenter:")
    assert len(list((tmp_path / "mlruns" / "masks").glob("lungs_tiny-*.ckpt"))) == 1


def test_a_broken_image_is_one_message(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Of those that are looked at before the run begins."""
    images = shutil.copytree(demo_data, tmp_path / "broken") / "nih" / "images_001" / "images"
    for image in images.iterdir():
        image.write_bytes(b"no image")
    assert covidmt("train", *SMALL, f"data.root={tmp_path / 'broken'}") == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert str(images) in message
    assert not (tmp_path / "mlruns" / "checkpoints").exists()


def test_an_image_that_breaks_a_loaders_worker_fails_the_run(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images = shutil.copytree(demo_data, tmp_path / "broken") / "wacxr" / "covid_binary_test_whatsapp"
    for image in images.rglob("*.*"):
        image.write_bytes(b"no image")
    assert covidmt("train", *SMALL, f"data.root={tmp_path / 'broken'}", "data.num_workers=1") == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert str(images) in message
    (run,) = runs(tmp_path)
    assert run.info.status == "FAILED"


def test_a_training_without_numbers_fails_with_a_word(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    broken = ["optimizer.lr=1e30", "data.epoch_length=4", "trainer.max_epochs=1"]
    assert covidmt("train", *SMALL, f"data.root={demo_data}", *broken) == 2
    message = capsys.readouterr().err
    assert re.search(r"the training stopped: the loss of .*covidx.* is no finite number in step 2 \(epoch 1\)", message)
    assert "Traceback" not in message
    (run,) = runs(tmp_path)
    assert run.info.status == "FAILED"
    assert not (tmp_path / "mlruns" / "checkpoints" / run.info.run_id / "best.ckpt").exists()
    assert steps(tmp_path, run, "train/loss") == [0]  # and what was computed is there


def test_a_failed_run_says_why(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path):
    broken = "trainer.callbacks=[{class_path: tests.covidmt.training.test_train.Breaks}]"
    with pytest.raises(RuntimeError, match="on purpose"):
        covidmt("train", *SMALL, f"data.root={demo_data}", broken)
    (run,) = runs(tmp_path)
    assert run.info.status == "FAILED"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    text = Path(client.download_artifacts(run.info.run_id, "traceback.txt", str(tmp_path))).read_text()
    assert "on purpose" in text


def test_a_failure_on_another_rank_is_on_the_run(demo_data: Path, tmp_path: Path):
    failed = subprocess.run(
        [
            *(sys.executable, "-m", "covidmt", "train", *SMALL, f"data.root={demo_data}"),
            *("trainer.devices=2", "trainer.strategy=ddp", "trainer.num_sanity_val_steps=0"),
            "trainer.callbacks=[{class_path: tests.covidmt.training.test_train.BreaksOnRankOne}]",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        timeout=500,
        check=False,
    )
    assert failed.returncode != 0
    (run,) = runs(tmp_path)
    assert run.info.status == "FAILED"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    text = Path(client.download_artifacts(run.info.run_id, "traceback-rank-1.txt", str(tmp_path))).read_text()
    assert "on purpose" in text


class Breaks(Callback):
    """Imported by name."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        raise RuntimeError("on purpose")


class BreaksOnRankOne(Breaks):
    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        if trainer.global_rank == 1:
            raise RuntimeError("on purpose")


class FrozenStatistics(Callback):
    """SyncBatchNorm works on GPUs only; without it batch statistics depend on the number of processes."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for layer in pl_module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 0.0


def test_two_processes_score_as_one(demo_data: Path, tmp_path: Path):
    """An odd number of pairs and of validation images; the weights stay (learning rate 0), so all scores must agree."""
    figures = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        subprocess.run(
            [
                *(sys.executable, "-m", "covidmt", "train", *SMALL, f"data.root={demo_data}", "optimizer.lr=0"),
                *("trainer.max_epochs=1", "data.epoch_length=1", "scheduler.name=null", f"trainer.devices={devices}"),
                *("trainer.limit_val_batches=1.0", "trainer.limit_test_batches=1.0"),
                "trainer.strategy=" + ("ddp" if devices == 2 else "auto"),
                "trainer.callbacks=[{class_path: tests.covidmt.training.test_train.FrozenStatistics}]",
            ],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPO)},
            check=True,
            timeout=500,
        )
        (run,) = runs(folder)
        assert run.data.tags["global_batch"] == str(16 * devices)
        figures[devices] = {key: value for key, value in run.data.metrics.items() if key.startswith(("val/", "test/"))}
    assert figures[1].keys() == figures[2].keys()
    assert figures[1]["val/pairs"] == 5
    exact = ("pi_score", "pairs", "flips", "ols_score", "ols/", "hist")
    for key, value in figures[1].items():
        if any(name in key for name in exact):
            assert figures[2][key] == value, key
        else:
            assert figures[2][key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("damage", ["cut short", "another content", "nothing"])
def test_a_damaged_last_checkpoint_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str):
    monkeypatch.chdir(tmp_path)
    run = RunFolder("4f0c")
    assert _read_start(run.run_id) is None
    run.checkpoints.mkdir(parents=True)
    torch.save({"global_step": 3, "state_dict": {"w": torch.ones(1000)}}, run.last)
    start = _read_start(run.run_id)
    assert start is not None
    assert start.step == 3
    content = run.last.read_bytes()
    run.last.write_bytes({"cut short": content[: len(content) // 2], "another content": b"x", "nothing": b""}[damage])
    message = r"last\.ckpt: is not a checkpoint, or is cut short .* put a copy of it back; or remove it.*--resume never"
    with pytest.raises(UserError, match=message):
        _read_start(run.run_id)


def test_a_last_checkpoint_that_cannot_be_looked_at_is_no_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a network disk that fails for a moment: the training must not begin at its first step."""
    monkeypatch.chdir(tmp_path)
    run = RunFolder("4f0c")
    run.checkpoints.mkdir(parents=True)
    run.last.symlink_to(run.last)
    with pytest.raises(OSError, match="Too many levels"):
        _read_start(run.run_id)
