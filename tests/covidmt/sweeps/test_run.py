"""Sweeps on this machine, through the command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from callbacks.pruning import open_storage
from covidmt.tracking.store import Store
from experiments.errors import UserError
from tests.conftest import REPO
from tests.helpers.trials import children, parent, steps, store, write_sweep

BREAKS = [{"class_path": "tests.helpers.cluster_callbacks.BreaksUntilMended"}]


def test_a_crash_and_a_kill_stop_no_other_trial_and_the_same_command_mends_them(
    covidmt: Callable[..., int],
    demo_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    sweep = write_sweep(tmp_path / "two.yaml", demo_data, seeds=[0, 1, 2], trainer={"callbacks": BREAKS})
    assert covidmt("sweep", "run", sweep) == 2
    said = capfd.readouterr()
    assert "2 of 3 trial(s) failed" in said.err
    assert "broken on purpose" in said.out
    assert "[red]" not in said.out  # markup that is shown
    runs = children(tmp_path, "two")
    assert [runs[seed].info.status for seed in (0, 1, 2)] == ["FINISHED", "FAILED", "FAILED"]
    assert "RuntimeError: broken on purpose" in runs[1].data.tags["failure"]
    assert "killed by SIGKILL" in runs[2].data.tags["failure"]
    assert parent(tmp_path, "two").info.status == "FAILED"

    (tmp_path / "mended").touch()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "mlruns" / "sweeps").rglob("*.*[!k]")}
    capfd.readouterr()
    assert covidmt("sweep", "run", sweep, "--dry-run") == 0
    assert "3 trial(s), 2 to start" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert covidmt("sweep", "run", sweep) == 0
    started = [line for line in capfd.readouterr().out.splitlines() if "started" in line]
    assert [line.split(": ")[0].rpartition(" ")[2] for line in started] == ["1", "2"]
    again = children(tmp_path, "two")
    assert {run.info.run_id for run in again.values()} == {run.info.run_id for run in runs.values()}
    for run in again.values():
        assert run.info.status == "FINISHED"
        assert "failure" not in run.data.tags
        assert steps(tmp_path, run, "train/loss") == [0, 1]
        assert steps(tmp_path, run, "val/pi_score") == [0]

    # what `covidmt report` reads
    top = parent(tmp_path, "two")
    assert top.info.status == "FINISHED"
    assert (top.data.tags["covidmt.kind"], top.data.tags["sweep"]) == ("sweep", "two")
    artifacts = {file.path for file in store(tmp_path).list_artifacts(top.info.run_id, "trials")}
    tags = again[1].data.tags
    assert f"trials/{tags['trial']}.yaml" in artifacts
    assert (tags["sweep"], tags["trial_label"], json.loads(tags["trial_overrides"])) == ("two", "demo", {"seed": 1})
    assert again[1].data.params["seed"] == "1"
    assert covidmt("sweep", "run", sweep) == 0
    assert "nothing to start" in capfd.readouterr().out

    # an earlier start is gone on with
    folder = tmp_path / "mlruns" / "sweeps" / "two"
    folder.rename(folder.with_name(".two-earlier"))
    assert covidmt("sweep", "run", sweep, "--resume", "nonsense") == 2
    assert f"there are {top.info.run_id}" in capfd.readouterr().err
    assert covidmt("sweep", "run", sweep, "--resume", top.info.run_id) == 0
    assert "nothing to start" in capfd.readouterr().out
    # and a default that has changed since makes other trials
    saved = folder / f"{tags['trial']}.yaml"
    saved.write_text(saved.read_text().replace("eta: 0.4", "eta: 0.3"))
    assert covidmt("sweep", "run", sweep, "--dry-run") == 0
    assert "3 trial(s), 1 to start" in capfd.readouterr().out


def test_jobs_run_what_was_submitted(covidmt: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from covidmt.sweeps.snapshot import job_environment, snapshot

    monkeypatch.chdir(REPO)  # a working folder with the packages in it
    copy = snapshot(tmp_path)
    assert snapshot(tmp_path) == copy
    (copy / "covidmt" / "__main__.py").write_text("print('the copy')")
    command = [sys.executable, "-m", "covidmt"]
    said = subprocess.run(command, env=job_environment(copy), capture_output=True, text=True, check=True)
    assert said.stdout == "the copy\n"


def test_a_dry_run_starts_nothing(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep = write_sweep(tmp_path / "dry.yaml", demo_data, seeds=[0, 1], grid={"optimizer.lr": [0.1, 0.2]})
    assert covidmt("sweep", "run", sweep, "--dry-run") == 0
    assert "4 trial(s), 4 to start" in capsys.readouterr().out
    assert not (tmp_path / "mlruns").exists()


def test_gpus_that_are_not_there(
    covidmt: Callable[..., int],
    demo_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    for launcher, trainer in (({"gpus_per_node": 2}, {}), ({"processes": 2}, {"accelerator": "auto"})):
        sweep = write_sweep(tmp_path / "gpus.yaml", demo_data, launcher=launcher, trainer=trainer)
        assert covidmt("sweep", "run", sweep) == 2
        assert "launcher.gpus_per_node" in capsys.readouterr().err
    assert not (tmp_path / "mlruns").exists()


def test_unknown_names_are_one_message(covidmt: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for command in (("status", "nothing"), ("logs", "nothing"), ("cancel", "nothing"), ("run", "nothing.yaml")):
        assert covidmt("sweep", *command) == 2
        assert "nothing" in capsys.readouterr().err


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
