"""A long training: what it holds stays flat, what it writes grows by the same amount in every epoch."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from datamodules.synthetic import write_demo
from tests.conftest import REPO
from tests.covidmt.soak import COLUMNS

EPOCHS = 200
SETTLED = 20  # epochs until caches are filled
SMALL = [
    "active_tasks=[covidx,rsna_boxes]",
    "data.image_size=64",
    "data.num_workers=0",
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
    watch = "trainer.callbacks=[{class_path: tests.covidmt.soak.Watch}]"
    subprocess.run(
        [
            *(sys.executable, "-m", "covidmt.cli", "train", "experiments/demo.yaml", f"data.root={tmp_path / 'data'}"),
            *(*SMALL, watch, f"trainer.max_epochs={EPOCHS}"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    held = pd.read_csv(tmp_path / "soak.csv", names=list(COLUMNS), index_col="epoch")
    print(
        f"\n{held.assign(rss=held['rss'] / 2**20, database=held['database'] / 2**10).iloc[::20].round(1).to_string()}"
    )
    early, late = held.iloc[SETTLED : SETTLED + 20].median(), held.iloc[-20:].median()
    middle = held.index[len(held) // 2]
    first = held["database"][middle] - held["database"][SETTLED]
    second = held["database"].iloc[-1] - held["database"][middle]
    rates = first / (middle - SETTLED), second / (held.index[-1] - middle)
    points = _points(tmp_path)
    print(
        f"rss {early['rss'] / 2**20:.0f} -> {late['rss'] / 2**20:.0f} MiB, files {early['files']:.0f} -> "
        f"{late['files']:.0f}, threads {early['threads']:.0f} -> {late['threads']:.0f}; database: "
        f"{rates[0] / 1024:.1f} and {rates[1] / 1024:.1f} KiB an epoch in the two halves, "
        f"{points / EPOCHS:.0f} metric points an epoch"
    )
    assert list(held.index) == list(range(EPOCHS))
    assert late["rss"] < 1.05 * early["rss"]
    for name in ("files", "threads", "children"):
        assert late[name] <= early[name] + 2
    assert rates[1] < 1.2 * rates[0]  # a row a metric point, and nothing else


def _points(folder: Path) -> int:
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("covidmt")
    (run,) = client.search_runs([experiment.experiment_id])
    return sum(len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics)
