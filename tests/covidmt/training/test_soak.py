"""A long training: what it holds stays flat, what it writes grows by the same amount in every epoch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from datamodules.demo.write import write_demo
from tests.conftest import REPO
from tests.helpers.soak import COLUMNS

EPOCHS = 200
SETTLED = 20  # epochs until caches are filled
SCALES = pd.Series({name: 2**20 if name in ("rss", "workers") else 1 for name in COLUMNS[1:]})  # MiB
SMALL = [
    "active_tasks=[covidx,rsna_boxes]",
    "data.image_size=64",
    "data.num_workers=1",
    "data.cache=cache",
    "data.epoch_length=2",
    "data.pairs.limit=2",
    "model.backbone=timm:mobilenetv3_small_050",
    "model.transition_channels=8",
    "model.boxes.channels=8",
    "tasks.covidx.batch_size=2",
    "robustness.overlays=1",
    "checkpoint.every_n_steps=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_epochs_are_flat(tmp_path: Path):
    write_demo(tmp_path / "data", seed=0, size=64, patients=48)
    watch = "trainer.callbacks=[{class_path: tests.helpers.soak.Watch}]"
    subprocess.run(
        [
            *(sys.executable, "-m", "covidmt", "train", "experiments/demo.yaml", f"data.root={tmp_path / 'data'}"),
            *(*SMALL, watch, f"trainer.max_epochs={EPOCHS}"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    held = pd.read_csv(tmp_path / "soak.csv", names=list(COLUMNS), index_col="epoch")
    print(f"\n{held.div(SCALES).iloc[::20].round(1).to_string()}")
    held = held.iloc[SETTLED:]
    halves = held.iloc[: len(held) // 2], held.iloc[len(held) // 2 :]
    early, late = (half.median() for half in halves)
    growth = [pd.Series(np.polyfit(half.index, half, 1)[0], half.columns) for half in halves]  # an epoch
    table = {"first half": early / SCALES, "second": late / SCALES, "KiB an epoch": growth[0] / 1024}
    print(f"after epoch {SETTLED}:\n{pd.DataFrame(table | {'in the second': growth[1] / 1024}).round(2).to_string()}")
    print(f"{_points(tmp_path) / EPOCHS:.0f} metric points an epoch")
    assert [*range(SETTLED), *held.index] == list(range(EPOCHS))
    assert growth[1]["rss"] * EPOCHS < 0.02 * late["rss"]
    assert late["workers"] < 1.1 * early["workers"]
    for name in ("files", "threads", "children"):
        assert late[name] <= early[name], name
    for name in ("database", "spool"):  # a row a metric point, and nothing else
        assert growth[1][name] < 1.2 * growth[0][name], name


def _points(folder: Path) -> int:
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("covidmt")
    (run,) = client.search_runs([experiment.experiment_id])
    return sum(len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics)
