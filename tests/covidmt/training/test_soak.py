"""Long trainings and many: what one holds stays flat, and what each writes is the same amount."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from datamodules.demo.write import write_demo
from tests.conftest import REPO
from tests.helpers import kill
from tests.helpers.chaos import TINY
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


RUNS = int(os.environ.get("RUNS", "200"))  # make soak RUNS=20


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_short_runs_leave_the_same_each(tmp_path: Path):
    """The best weights once, a row a metric point, and nothing half made; and the last starts with no more work."""
    write_demo(tmp_path / "data", seed=0, size=64, patients=48)
    work, rows = tmp_path / "work", []
    for number in range(RUNS):
        begin = time.monotonic()
        watch = "trainer.callbacks=[{class_path: tests.helpers.soak.Start}]"
        arguments = [*TINY, f"data.root={tmp_path / 'data'}", "trainer.max_epochs=1", f"seed={number}", watch]
        assert kill.train(work, arguments) == [0], (work / "log-0.txt").read_text()[-2000:]
        (work / "log-0.txt").unlink()
        files = [path.stat() for path in (work / "mlruns").rglob("*") if path.is_file()]
        sizes = {(state.st_dev, state.st_ino): state.st_size for state in files}  # a file of two names counts once
        rows.append({"bytes": sum(sizes.values()), "files": len(sizes), "seconds": time.monotonic() - begin})
    table = pd.DataFrame(rows)
    starts = pd.read_csv(work / "start.csv", names=["start", "reads", "characters"])
    print(f"\n{table.join(starts).iloc[:: RUNS // 10].round(1).to_string()}")
    growth = table[["bytes", "files"]].diff().iloc[1:]
    early, late = growth.iloc[: RUNS // 2].mean(), growth.iloc[RUNS // 2 :].mean()
    print(f"a run leaves {late['bytes'] / 1024:.0f} KiB in {late['files']:.1f} files")
    assert (late <= 1.05 * early + 1).all()
    work_early, work_late = (
        half[["reads", "characters"]].median() for half in (starts[: RUNS // 2], starts[RUNS // 2 :])
    )
    assert (work_late <= 1.1 * work_early).all(), f"a start reads {work_early.to_dict()}, then {work_late.to_dict()}"
    assert not [path for path in (work / "mlruns").rglob("*") if path.name == "last.ckpt" or path.name.startswith(".")]


def _points(folder: Path) -> int:
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("covidmt")
    (run,) = client.search_runs([experiment.experiment_id])
    return sum(len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics)
