"""What could go of `mlruns`, and what may not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.runs.cleaning import CACHE, CHECKPOINTS, LEFTOVER, STATE, find_removable, remove
from covidmt.tracking.spool.place import SpoolLock
from covidmt.tracking.store import Store
from datamodules.images.cache import ImageCache
from tests.conftest import REPO
from tests.datamodules.images.test_cache import write_images


def new_run(store: Store, root: Path, *, unfinished: bool = False) -> RunFolder:
    """A run in the store with both checkpoints."""
    run = RunFolder(store.client.create_run("0").info.run_id, root)
    run.checkpoints.mkdir(parents=True)
    run.best.write_bytes(bytes(1000))
    run.last.write_bytes(bytes(3000))
    if unfinished:
        run.begin("settings")
    return run


def found(root: Path, store: Store | None) -> set[tuple[str, Path, int]]:
    return {(item.kind, item.path, item.size) for item in find_removable(root, store).removable}


def test_deleted_and_finished_runs_and_no_others(store: Store, tmp_path: Path):
    root = tmp_path / "mlruns"
    deleted, finished, begun = (new_run(store, root, unfinished=end) for end in (False, False, True))
    store.client.delete_run(deleted.run_id)
    foreign = RunFolder("f" * 32, root)  # of another store
    foreign.checkpoints.mkdir()
    foreign.last.write_bytes(bytes(10))
    assert found(root, store) == {(CHECKPOINTS, deleted.checkpoints, 4000), (STATE, finished.last, 3000)}

    findings = find_removable(root, store)
    assert findings.unknown == [foreign.run_id]
    assert sum(remove(item, root) for item in findings.removable) == 7000
    assert sorted(path.name for path in (root / "checkpoints").iterdir()) == sorted(
        run.run_id for run in (finished, begun, foreign)
    )
    assert finished.best.exists()
    assert begun.last.exists()
    assert not list((root / "spool").glob("*"))  # no lock stays
    assert not found(root, store)


def test_a_checkpoint_that_the_artifacts_have_too_frees_nothing(store: Store, tmp_path: Path):
    root = tmp_path / "mlruns"
    run = new_run(store, root)
    os.link(run.best, tmp_path / "artifact.ckpt")
    store.client.delete_run(run.run_id)
    assert found(root, store) == {(CHECKPOINTS, run.checkpoints, 3000)}


def test_a_run_in_progress_keeps_all(store: Store, tmp_path: Path):
    """Another process holds its lock, as a training does; also where the run was deleted meanwhile."""
    root = tmp_path / "mlruns"
    run, other = new_run(store, root), new_run(store, root)
    store.client.delete_run(other.run_id)
    code = (
        "import sys; from pathlib import Path; from covidmt.tracking.spool.place import SpoolLock\n"
        "locks = [SpoolLock(Path(path)) for path in sys.argv[1:]]\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(run.spool), str(other.spool)]
    items = find_removable(root, store).removable
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        findings = find_removable(root, store)
        assert not findings.removable
        assert sorted(findings.in_use) == sorted([run.run_id, other.run_id])
        assert [remove(item, root) for item in items] == [0, 0]  # found before it began
        assert process.stdin is not None
        process.stdin.close()
    assert run.last.exists()
    assert other.best.exists()
    assert [remove(item, root) > 0 for item in items] == [True, True]


def test_a_run_that_is_resumed_after_the_look_keeps_its_state(store: Store, tmp_path: Path):
    root = tmp_path / "mlruns"
    run = new_run(store, root)
    (item,) = find_removable(root, store).removable
    run.begin("settings")
    assert remove(item, root) == 0
    assert run.last.exists()


def test_leftovers_of_kills_and_caches(store: Store, tmp_path: Path):
    root = tmp_path / "mlruns"
    old, new = (root / "checkpoints" / "4f0c" / name for name in (".last.ckpt.1", ".last.ckpt.2"))
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_bytes(bytes(500))
    os.utime(old, (time.time() - 7200,) * 2)
    paths = write_images(tmp_path / "images", 3)
    cache = ImageCache(tmp_path / "cache", "chests", 48)
    cache.fill(paths)
    Path(paths[0]).unlink()

    findings = find_removable(root, store, [tmp_path / "cache"])
    kinds = {(item.kind, item.path) for item in findings.removable}
    assert kinds - {(CACHE, cache.pixels)} == {(LEFTOVER, old)}
    for item in findings.removable:
        assert remove(item, root) == item.size
    assert (old.exists(), new.exists()) == (False, True)
    assert cache.spare() == 0


def test_the_command_says_before_it_does(
    store: Store, covidmt: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = new_run(store, tmp_path / "mlruns")
    assert covidmt("clean") == 0
    out = capsys.readouterr().out
    assert f"3.0 kB  {STATE}: {run.last}" in out
    assert "3.0 kB could go; `covidmt clean --yes` removes it" in out
    assert run.last.exists()

    assert covidmt("clean", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["removable"]
    assert (row["bytes"], row["freed"]) == (3000, None)

    lock = SpoolLock(run.spool)
    assert covidmt("clean", "--yes") == 0
    assert "in use, so left alone: 1 run(s)" in capsys.readouterr().out
    lock.release()
    assert covidmt("clean", "--yes") == 0
    assert "3.0 kB removed" in capsys.readouterr().out
    assert not run.last.exists()


def test_a_folder_without_runs(covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("clean") == 0
    assert "nothing to remove" in capsys.readouterr().out
