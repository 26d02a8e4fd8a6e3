"""Trainings on a GPU through the command line: precisions, layouts, resume, several GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_modules.multitask import MultiTaskModule
from tests.covidmt.training.test_train import SMALL, runs, steps
from tests.helpers.tiny_experiment import batch, experiment

pytestmark = pytest.mark.gpu
ON_GPU = [setting for setting in SMALL if "accelerator" not in setting] + ["trainer.accelerator=gpu"]


@pytest.mark.parametrize(
    "settings",
    [
        ["trainer.precision=32-true"],
        ["trainer.precision=bf16-mixed"],
        ["trainer.precision=16-mixed"],
        ["trainer.precision=bf16-mixed", "model.channels_last=true"],
        ["trainer.precision=bf16-mixed", "model.compile=true"],
    ],
    ids=" ".join,
)
def test_the_demo_trains(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, settings: list[str]):
    assert covidmt("train", *ON_GPU, "trainer.devices=1", *settings, f"data.root={demo_data}") == 0
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert steps(tmp_path, run, "val/pi_score") == [0, 1]
    assert 0 <= run.data.metrics["val/ols_score/original"] <= 100


def test_real_films_train(covidmt: Callable[..., int], mini_cxr: Path, tmp_path: Path):
    one_epoch = ["trainer.max_epochs=1", "data.num_workers=4", "trainer.precision=bf16-mixed"]
    arguments = ["experiments/mini_cxr.yaml", f"data.root={mini_cxr}", "trainer.accelerator=gpu", "trainer.devices=1"]
    assert covidmt("train", *arguments, *one_epoch) == 0
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"


def test_a_resumed_training_ends_with_the_same_bits(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path):
    exact = [*ON_GPU, "trainer.devices=1", "trainer.deterministic=true", f"data.root={demo_data}"]
    assert covidmt("train", *exact, "checkpoint.keep=all") == 0
    (whole,) = runs(tmp_path)
    assert covidmt("train", *exact, "trainer.max_epochs=1", "checkpoint.keep=all") == 0
    (half,) = [run for run in runs(tmp_path) if run.info.run_id != whole.info.run_id]
    assert covidmt("train", *exact, "checkpoint.keep=all", "--resume", half.info.run_id) == 0

    ends = [
        torch.load(tmp_path / "mlruns" / "checkpoints" / run.info.run_id / "last.ckpt", weights_only=True)["state_dict"]
        for run in (whole, half)
    ]
    assert ends[0].keys() == ends[1].keys()
    for name, weights in ends[0].items():
        assert torch.equal(weights, ends[1][name]), name


def test_all_gpus_train_together(covidmt: Callable[..., int], demo_data: Path, tmp_path: Path):
    devices = torch.cuda.device_count()
    if devices == 1:
        pytest.skip("one GPU alone on this machine")
    several = [f"trainer.devices={devices}", "trainer.strategy=ddp", "trainer.sync_batchnorm=true"]
    assert covidmt("train", *ON_GPU, *several, f"data.root={demo_data}") == 0
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("weighting", ["mean", "uncertainty"])
def test_a_step_never_waits_for_the_gpu(device: torch.device, weighting: str):
    module = MultiTaskModule(experiment(f"losses.weighting={weighting}")).to(device)
    optimizer = module.build_optimizer()
    there = module.transfer_batch_to_device(batch(n=4), device, 0)

    def step() -> None:
        module.training_step(there, 0)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # the anchors go to the device, cuDNN chooses
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
