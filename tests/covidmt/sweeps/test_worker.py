"""Workers that share a sweep's folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from covidmt.sweeps.folder import TrialOutcome
from covidmt.sweeps.worker import _claimed, _find_folder, _is_open, _next_trial
from tests.conftest import REPO
from tests.helpers.quick import QUICK


def write_sweep(folder: Path, demo_data: Path, trials: int) -> Path:
    """Write a sweep of quick trainings."""
    (folder / "demo-data").symlink_to(demo_data)
    sweep = {
        "name": "shared",
        "experiment": str(REPO / "experiments/demo.yaml"),
        "overrides": {key: yaml.safe_load(value) for key, value in (each.split("=") for each in QUICK)}
        | {"active_tasks": ["covidx"], "model.backbone": "timm:test_resnet"},
        "seeds": list(range(trials)),
    }
    path = folder / "shared.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def start(folder: Path, sweep: str) -> subprocess.Popen:
    """Start a worker in a working folder."""
    environment = {**os.environ, "PYTHONPATH": ""}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-P", "-m", "covidmt", "sweep", "worker", sweep]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_two_workers_of_two_folders_share_the_trials(demo_data: Path, tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    path = write_sweep(one, demo_data, trials=3)
    first = start(one, path.name)
    home = one / "mlruns/sweeps/shared"
    while not (home / "sweep.json").exists():
        assert first.poll() is None, first.communicate()[0].decode()
    second = start(other, str(home))
    said = [process.communicate(timeout=500)[0].decode() for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said

    # each trial once, and all of them
    started = [line.split()[0] for text in said for line in text.splitlines() if ": started, log" in line]
    trials = json.loads((home / "sweep.json").read_text())["trials"]
    assert sorted(started) == sorted(trials), said
    assert {json.loads((home / f"{trial}.state.json").read_text())["state"] for trial in trials} == {"finished"}


def test_claims_and_states_decide_who_takes_a_trial(demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = _find_folder(write_sweep(tmp_path, demo_data, trials=2).name, [])
    assert _find_folder("shared", []).path == _find_folder(str(folder.path), []).path == folder.path
    first, second = folder.trials

    assert _next_trial(folder, set(), failed=False).id == first.id
    with _claimed(first) as claimed, _claimed(first) as again:
        assert (claimed, again) == (True, False)
        assert _is_open(folder, first, failed=False)
    first.save_outcome(TrialOutcome("finished", "node", 1, begin=0.0, end=1.0))
    second.save_outcome(TrialOutcome("failed", "node", 1, begin=0.0, end=1.0, reason="out of memory"))
    assert _next_trial(folder, set(), failed=False) is None
    assert _next_trial(folder, set(), failed=True).id == second.id
    second.save_outcome(TrialOutcome("failed", "node", 1, begin=0.0, end=1.0, reason="gone without a word: killed"))
    assert _next_trial(folder, set(), failed=False).id == second.id  # killed: another worker resumes it


def test_a_sweep_that_is_not_there_is_one_message(covidmt, capsys: pytest.CaptureFixture):
    assert covidmt("sweep", "worker", "nowhere") == 2
    assert "no sweep 'nowhere'" in capsys.readouterr().err
