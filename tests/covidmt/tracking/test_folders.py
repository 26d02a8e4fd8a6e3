"""The layout of mlruns/."""

import os
from pathlib import Path

import pytest

from covidmt.tracking.folders import RunFolder, mlruns_dir, spools_dir


def test_the_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = RunFolder("4f0c")
    files = [run.spool, run.last, run.best]
    names = ["spool/4f0c", "checkpoints/4f0c/last.ckpt", "checkpoints/4f0c/best.ckpt"]
    assert [file.relative_to(mlruns_dir()).as_posix() for file in files] == names
    assert mlruns_dir() == tmp_path / "mlruns"
    assert spools_dir() == run.spool.parent
    assert RunFolder("4f0c", tmp_path / "other").last == tmp_path / "other/checkpoints/4f0c/last.ckpt"


def test_unfinished_runs_of_the_same_settings_the_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for seconds, (run_id, settings) in enumerate([("old", "a"), ("new", "a"), ("done", "a"), ("other", "b")]):
        RunFolder(run_id).begin(settings)
        os.utime(RunFolder(run_id).checkpoints / "unfinished", (seconds, seconds))
    RunFolder("done").finish()
    assert [run.run_id for run in RunFolder.unfinished("a")] == ["new", "old"]
    assert [file.name for file in RunFolder("new").checkpoints.iterdir()] == ["unfinished"]
