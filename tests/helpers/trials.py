"""Sweeps of tiny trials, and what became of them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from covidmt.sweeps.folder import SweepFolder
from covidmt.sweeps.run import prepare
from experiments.trials import load_sweep

SMALL = {
    "data": {"image_size": 32, "num_workers": 0, "epoch_length": 2, "pairs": {"limit": 4, "test": None}},
    "model": {"backbone": "timm:test_resnet", "transition_channels": 8},
    "robustness": {"overlays": 0, "batch_size": 4},
    "active_tasks": ["covidx"],
    "tasks": {"covidx": {"batch_size": 2}},
    "tracking": {"system_metrics": False, "log_checkpoint": False},
    "trainer": {"accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 1, "log_every_n_steps": 1},
}


def write_sweep(path: Path, data: Path, **sections: object) -> Path:
    """A sweep YAML over `SMALL` trials; ``trainer`` adds to that section, the rest are the sweep's own."""
    trainer = {**SMALL["trainer"], **dict(sections.pop("trainer", {}))}
    overrides = {**SMALL, "trainer": trainer, "data": {**SMALL["data"], "root": str(data)}}
    path.write_text(yaml.safe_dump({"experiment": "experiments/demo.yaml", "overrides": overrides, **sections}))
    return path


def store(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")


def children(folder: Path, sweep: str) -> dict[int, Run]:
    """Seed -> run, of the sweep's trials."""
    settings = json.loads((folder / "mlruns" / "sweeps" / sweep / "sweep.json").read_text())
    query = f"tags.mlflow.parentRunId = '{settings['run_id']}'"
    runs = store(folder).search_runs([settings["experiment_id"]], query)
    return {json.loads(run.data.tags["trial_overrides"])["seed"]: run for run in runs}


def parent(folder: Path, sweep: str) -> Run:
    settings = json.loads((folder / "mlruns" / "sweeps" / sweep / "sweep.json").read_text())
    return store(folder).get_run(settings["run_id"])


def steps(folder: Path, run: Run, key: str) -> list[int]:
    return sorted(point.step for point in store(folder).get_metric_history(run.info.run_id, key))


def submitted(path: Path) -> tuple[SweepFolder, list[str]]:
    """All of `run` but starting the trials; their ids."""
    sweep, trials = load_sweep(path)
    folder = SweepFolder(SweepFolder.root() / sweep.name)
    return folder, prepare(folder, sweep, trials)


def sql(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database, database:
        database.execute(statement)


def count(folder: Path) -> int:
    return len(store(folder).search_runs([parent(folder, "s").info.experiment_id]))


FORGOTTEN = None  # SLURM does not know the job


def slurm_says(folder: Path, monkeypatch: pytest.MonkeyPatch, accounting: str | None, controller: str | None) -> None:
    """Programs of SLURM's names, which know one job or none."""
    for name, said in (("sacct", accounting), ("scontrol", controller), ("squeue", "")):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n" + ("exit 1" if said is FORGOTTEN else f"echo '{said}'"))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
