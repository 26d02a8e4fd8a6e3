"""The layout of mlruns/."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from covidmt.tracking.folders import RunFolder, mlruns_dir, remove_leftovers, spools_dir


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


def test_leftovers_of_kills_are_removed_and_nothing_else(tmp_path: Path):
    run = RunFolder("4f0c", tmp_path)
    stays = [run.best, run.spool / "events.jsonl", tmp_path / "sweeps/s/.a.json.new", tmp_path / "spool/.new-0f"]
    goes = [tmp_path / "spool/.4f0c.0f1e/uri", tmp_path / ".building-x/mlflow.db", run.checkpoints / ".last.ckpt.new"]
    goes.append(tmp_path / "masks/covidmt/.0f1e.png.4f0c")
    stays += [tmp_path / "masks/covidmt/0f1e.png", tmp_path / "masks/.lock", tmp_path / "masks/covidmt/.1f1e.png.4f0c"]
    for path in [*stays, *goes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in goes[-2:]:
        os.utime(path, (1, 1))
    with FileLock(tmp_path / "mlflow.db.lock"):  # a process builds the store
        remove_leftovers(tmp_path)
        assert (tmp_path / ".building-x").exists()
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in stays)
    assert not any(path.exists() or (path.parent.name.startswith(".") and path.parent.exists()) for path in goes)


def test_a_disk_that_cannot_tell_is_no_folder_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A link to itself: looking at it fails, as on a network disk that fails for a moment."""
    monkeypatch.chdir(tmp_path)
    assert RunFolder.unfinished("f") == []
    RunFolder("a").begin("f")
    (tmp_path / "mlruns" / "checkpoints" / ".note").touch()
    assert [run.run_id for run in RunFolder.unfinished("f")] == ["a"]
    mark = RunFolder("b").checkpoints / "unfinished"
    mark.parent.mkdir()
    mark.symlink_to(mark)
    with pytest.raises(OSError, match="Too many levels"):
        RunFolder.unfinished("f")
