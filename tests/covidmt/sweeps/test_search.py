"""Searches: what Optuna draws, and what cannot be changed."""

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from callbacks.pruning import open_storage
from covidmt.tracking.store import Store
from experiments.errors import UserError
from tests.helpers.trials import (
    store,
    write_sweep,
)

pytestmark = pytest.mark.slow


def test_what_optuna_cannot_change_in_a_search_is_said(tmp_path: Path):
    from covidmt.sweeps.search import open_study
    from experiments.sweep_schema import Direction, Distribution, Search

    def search(*choices: str, direction: Direction = Direction.minimize) -> Search:
        space = {"model.backbone": Distribution(choices=[*choices])}
        return Search(space=space, metric="val/x", direction=direction, storage=str(tmp_path / "study.journal"))

    found = open_study(search("a", "b"), "study", Store("sqlite:///other.db"))
    assert open_study(search("b", "a"), "study", Store("sqlite:///other.db")) == found  # nothing is drawn yet
    study = optuna.load_study(study_name="study", storage=open_storage(found["storage"]))
    study.ask({"model.backbone": optuna.distributions.CategoricalDistribution(["a", "b"])})
    with pytest.raises(UserError, match=r"search\.space\.model\.backbone.*--resume never"):
        open_study(search("a", "b", "c"), "study", Store("sqlite:///other.db"))
    with pytest.raises(UserError, match=r"search\.direction.*minimize"):
        open_study(search("a", "b", direction=Direction.maximize), "study", Store("sqlite:///other.db"))


@pytest.mark.slow
def test_a_search_draws_prunes_and_goes_on(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    search = {
        "metric": "val/covidx/loss",
        "trials": 2,
        "space": {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "sampler": {"name": "RandomSampler", "options": {"seed": 0}},
        "pruner": {"name": "ThresholdPruner", "options": {"upper": 0.0}},  # every loss is above it
        "storage": str(tmp_path / "study.journal"),
    }
    sweep = write_sweep(tmp_path / "search.yaml", demo_data, search=search, trainer={"max_epochs": 2})
    assert covidmt("sweep", "run", sweep) == 0
    (name,) = optuna.get_all_study_names(open_storage(search["storage"]))
    study = optuna.load_study(study_name=name, storage=open_storage(search["storage"]))
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED"]
    assert all(list(trial.intermediate_values) == [0] for trial in study.trials)
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 2
    settings = json.loads((tmp_path / "mlruns" / "sweeps" / "search" / "sweep.json").read_text())
    runs = store(tmp_path).search_runs([settings["experiment_id"]], "tags.sweep = 'search' and params.seed = '0'")
    assert len(runs) == 2
    drawn = {run.data.tags["optuna_trial"]: float(run.data.params["lr"]) for run in runs}
    assert drawn == {str(trial.number): pytest.approx(trial.params["optimizer.lr"]) for trial in study.trials}
    assert {run.data.tags["trial_label"].split()[0] for run in runs} == {"lr"}

    # more trials: the first two stay; without a pruner each has a value
    assert covidmt("sweep", "run", sweep, "search.trials=3", "search.pruner=null") == 0
    study = optuna.load_study(study_name=name, storage=open_storage(search["storage"]))
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED", "COMPLETE"]
    assert list(study.trials[2].intermediate_values) == [0, 1]
    assert study.trials[2].value in study.trials[2].intermediate_values.values()
