"""What finished runs keep."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.tracking.store import Store
from covidmt.training.growth import describe_budget, keep_finished
from experiments.schema import Checkpoint, Experiment, Keep, Tracking


@pytest.mark.parametrize(("keep", "names"), [(Keep.best, ["best.ckpt"]), (Keep.all, ["best.ckpt", "last.ckpt"])])
def test_a_finished_run_keeps_what_is_asked_for_and_its_best_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Keep, names: list[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    experiment = Experiment("mine", tracking=Tracking(system_metrics=False), checkpoint=Checkpoint(keep=keep))
    logger = MlflowSpoolLogger(experiment.tracking)
    run = RunFolder(str(logger.version))
    run.checkpoints.mkdir(parents=True)
    for path in (run.best, run.last):
        torch.save({"w": torch.zeros(1000)}, path)
    logger.log_artifact(run.best, "checkpoints")
    logger.close()
    keep_finished(experiment, run, logger.store)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == names
    (copy,) = (tmp_path / "mlruns" / "artifacts").rglob("best.ckpt")
    assert copy.samefile(run.best)
    assert torch.load(run.best, weights_only=True)["w"].numel() == 1000


def test_without_a_best_one_the_last_stays(tmp_path: Path):
    experiment = Experiment("mine", tracking=Tracking(log_checkpoint=False))
    run = RunFolder("4f0c", tmp_path)
    run.checkpoints.mkdir(parents=True)
    run.last.touch()
    keep_finished(experiment, run, Store(f"sqlite:///{tmp_path}/mlflow.db"))
    assert run.last.exists()


def test_the_budget_is_what_is_kept():
    module = torch.nn.Linear(1000, 250, bias=False)  # one megabyte
    experiment = Experiment("mine")
    assert "about 1.0 MB in" in describe_budget(experiment, module)
    everything = replace(experiment, checkpoint=Checkpoint(keep=Keep.all))
    assert "about 4.0 MB in" in describe_budget(everything, module)
