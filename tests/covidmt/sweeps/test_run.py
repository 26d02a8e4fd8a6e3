"""Sweeps on this machine, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.helpers.trials import children, parent, steps, store, write_sweep

pytestmark = pytest.mark.slow

BREAKS = [{"class_path": "tests.helpers.cluster_callbacks.BreaksUntilMended"}]


def test_a_data_set_that_is_not_there_is_said_before_the_first_trial(
    covidmt: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    sweep = write_sweep(tmp_path / "two.yaml", tmp_path / "nowhere", seeds=[0, 1])
    assert covidmt("sweep", "run", sweep) == 2
    said = capfd.readouterr()
    assert f"data.sources.covidx.root: no folder {tmp_path}/nowhere/covidx" in said.err
    assert "started" not in said.out
    assert parent(tmp_path, "two").info.status != "RUNNING"


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
