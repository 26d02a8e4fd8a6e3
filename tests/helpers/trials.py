"""Sweeps of tiny trials, and what became of them."""

import json
from pathlib import Path

import mlflow
import yaml
from mlflow.entities import Run

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
