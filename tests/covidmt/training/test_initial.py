"""Fine-tuning from a run, from a checkpoint and from a registered model."""

from pathlib import Path

import pytest
import torch

from covidmt.tracking.store import Store
from covidmt.training.initial import begin_module, find_initial
from experiments.errors import UserError
from experiments.load import load_experiment
from tests.conftest import REPO
from tests.helpers.quick import QUICK, run

DEMO = str(REPO / "experiments/demo.yaml")


def test_what_is_not_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for reference in ("nothing.ckpt", "nothing.pth", "a0" * 16, "models:/nothing@best"):
        with pytest.raises(UserError, match=r"^model\.init_from: .*nothing|^model\.init_from: .*a0a0"):
            find_initial(load_experiment(DEMO, [f"model.init_from={reference}"]))


def test_two_beginnings_are_one_too_many():
    with pytest.raises(UserError, match=r"takes the place of model\.weights"):
        load_experiment(DEMO, ["model.init_from=last", "model.weights=some.pth"])


@pytest.mark.slow
def test_fine_tuning(demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    (tmp_path / "demo-data").symlink_to(demo_data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = ["active_tasks=[covidx,infiltration]", "tracking.register=mine"]
    run(tmp_path, "train", DEMO, *QUICK, *first)
    (best,) = tmp_path.glob("mlruns/checkpoints/*/best.ckpt")
    trained = torch.load(best, weights_only=True)["state_dict"]

    # from each of the names that it has
    then = [*QUICK, "active_tasks=[covidx,nodule]"]
    for reference in (best.parent.name, "last", str(best), "models:/mine@best"):
        module = begin_module(load_experiment(DEMO, [*then, f"model.init_from={reference}"]))
        assert "has no place here, left out: tasks.infiltration" in capsys.readouterr().out
        for name, tensor in module.state_dict().items():
            assert not name.startswith(("backbone.", "tasks.covidx.")) or torch.equal(tensor, trained[name]), name

    # a training, which says once what was left out, and whose checkpoint needs the first one no more
    said = run(tmp_path, "train", DEMO, *then, "model.init_from=models:/mine@best")
    assert said.count("has no place here, left out: tasks.infiltration") == 1
    assert "not in it, starts from scratch: tasks.nodule" in said
    runs = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db").client.search_runs(["1"], order_by=["start_time DESC"])
    assert runs[0].data.params["init_from"] == "models:/mine@best"
    image = str(next(tmp_path.glob("demo-data/covidx/train/*")))
    assert "probability" in run(tmp_path, "predict", runs[0].info.run_id, image, "--segmenter", "none")
