"""What a training says when it begins and when it has ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.store import Store
from covidmt.trainer import make_trainer
from covidmt.training.blocks import describe_batch, end_block, print_block, start_block
from datamodules.multitask import MultiTaskDataModule
from experiments.load import SHIPPED, load_experiment


def test_a_start_says_data_devices_and_batch(demo_data: Path, tmp_path: Path):
    experiment = load_experiment(SHIPPED / "demo.yaml", [f"data.root={demo_data}", "data.pairs.limit=5"])
    datamodule = MultiTaskDataModule(experiment)
    datamodule.setup()
    trainer = make_trainer({"accelerator": "cpu", "devices": 1}, [], tmp_path)
    block = start_block(experiment, datamodule, trainer)

    *tasks, pairs = block["data"].splitlines()
    assert [line.split(":")[0] for line in tasks] == [
        "covidx (covidx)", "rsna_boxes (rsna)", "infiltration (nih)", "effusion (nih)", "atelectasis (nih)",
        "nodule (nih)",
    ]  # fmt: skip
    train = len(datamodule.groups[0].rows("train"))
    assert tasks[0].startswith(f"covidx (covidx): train {train}, val ")
    assert pairs.startswith("pairs: val 5 of covidx through whatsapp (simulated), test ")
    assert block["devices"] == "CPU"
    assert block["batch"].startswith(
        f"{sum(group.batch_size for group in datamodule.groups)} images a step (covidx 8, "
    )
    doubled = describe_batch(datamodule.groups[:1], processes=2, accumulated=3)
    assert doubled == "48 images a step (covidx 8, x 2 processes, x 3 batches)"

    # several sources of test pairs, and none
    pairs = replace(experiment.data.pairs, test=["wacxr", "rsna"])
    lines = start_block(replace(experiment, data=replace(experiment.data, pairs=pairs)), datamodule, trainer)["data"]
    assert lines.endswith(f"test {len(datamodule.pair_dataset('test'))} of wacxr as received")
    del datamodule.tables["wacxr"]
    lines = start_block(replace(experiment, data=replace(experiment.data, pairs=pairs)), datamodule, trainer)["data"]
    assert lines.endswith("test none (wacxr is not there)")


def test_an_end_says_where_the_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    store.prepare()
    made = store.client.create_run(store.open_experiment("xray"))
    run = RunFolder(made.info.run_id)
    run.checkpoints.mkdir(parents=True)
    run.best.write_bytes(bytes(2000))
    (tmp_path / "notes.txt").write_text("artifact")
    store.client.log_artifact(run.run_id, str(tmp_path / "notes.txt"))

    block = end_block(run, store, 75.0)
    page = f"#/experiments/{made.info.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    assert block["time"] == "1 min 15 s"
    assert block["disk"] == f"2.0 kB in {tmp_path}/mlruns"
    assert block["MLflow UI"].endswith("covidmt ui")
    assert block["MLflow UI"].startswith(f"http://127.0.0.1:5000/{page} while this runs:\n")
    # a store that knows nothing of it, and none
    assert end_block(RunFolder("4f0c"), store, 0)["MLflow UI"].endswith("covidmt ui")
    assert "no curves and no pictures were kept" in end_block(run, None, 0)["MLflow"]
    assert "where CSVLogger wrote them" in end_block(run, None, 0, ["CSVLogger"])["MLflow"]


def test_a_text_of_several_lines_stays_in_its_column(capsys: pytest.CaptureFixture[str]):
    print_block({"run": "demo", "data": "covidx\nrsna"})
    assert capsys.readouterr().out.splitlines() == ["run        demo", "data       covidx", " " * 11 + "rsna"]
