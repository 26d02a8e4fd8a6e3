"""Who has a spool, and how what was written elsewhere comes home."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from covidmt.tracking.spool import Spool
from covidmt.tracking.spool.place import SpoolInUse, SpoolLock, bring_home, emergency_folder, new_place
from covidmt.tracking.store import Store


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return emergency_folder("run")


def test_a_lock_is_taken_once_and_leaves_nothing_behind(tmp_path: Path):
    first = SpoolLock.take_if_left(tmp_path / "run")
    assert first is not None
    with pytest.raises(SpoolInUse):
        SpoolLock(tmp_path / "run")
    first.release()
    first.release()
    assert list(tmp_path.iterdir()) == []


def test_whoever_waits_knows_that_it_has_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covidmt.tracking.spool.place.GRACE", 0.1)
    first = SpoolLock(tmp_path / "run")
    assert SpoolLock.take_if_left(tmp_path / "run") is None
    monkeypatch.setattr("time.sleep", lambda seconds: first.release())
    second = SpoolLock(tmp_path / "run", wait=60)
    assert (first.waited, second.waited) == (False, True)
    second.release()


def test_a_folder_that_its_holder_removes_stops_nobody_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.sleep", lambda seconds: os.sched_yield())
    held: list[int] = []

    def take(number: int) -> None:
        for _ in range(200):
            lock = SpoolLock(tmp_path / "run", wait=300)
            held.append(number)
            assert held == [number]
            held.clear()
            lock.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_file_system_is_gone_can_be_released(tmp_path: Path):
    lock = SpoolLock(tmp_path / "run")
    assert lock._descriptor is not None
    os.close(lock._descriptor)  # its calls fail from now on
    lock.release()


def test_a_new_place_that_fails_is_free_for_the_next_try(tmp_path: Path):
    with pytest.raises(OSError, match="full"), new_place(tmp_path / "run"):
        raise OSError("the disk is full")
    with new_place(tmp_path / "run") as lock:
        (tmp_path / "run" / "events.jsonl").touch()
    lock.release()
    with pytest.raises(SpoolInUse, match="events already"), new_place(tmp_path / "run"):
        pass
    SpoolLock(tmp_path / "run").release()


@pytest.mark.parametrize("readable", [True, False])
def test_what_was_written_elsewhere_comes_home(tmp_path: Path, elsewhere: Path, readable: bool):
    """``readable``: the emergency folder has all that the old one had, as the open file could still be read."""
    lines = [json.dumps({"op": "metrics", "points": [["a", 1.0, 1000 + n, n]]}) + "\n" for n in range(4)]
    home = tmp_path / "spool" / "run"
    for folder, content, sent in (
        (home, "".join(lines[:2]), len(lines[0])),
        (elsewhere, "".join(lines if readable else lines[2:]), len(lines[0]) if readable else 0),
    ):
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text(content)
        (folder / "sent").write_text(str(sent))
    (elsewhere / "files" / "0f1e").mkdir(parents=True)
    (elsewhere / "files" / "0f1e" / "picture.png").write_text("pixels")
    bring_home(home)
    assert not elsewhere.exists()
    assert (home / "events.jsonl").read_text() == "".join(lines)
    assert (home / "sent").read_text() == str(len(lines[0]))
    assert (home / "files" / "0f1e" / "picture.png").read_text() == "pixels"
    spool = Spool(home, Store("sqlite:///nowhere.db"))
    assert [point.step for point in sorted(spool.logged(), key=lambda point: point.step)] == [0, 1, 2, 3]
    spool.close()


def test_what_another_process_writes_elsewhere_stays_there(tmp_path: Path, elsewhere: Path):
    elsewhere.mkdir(parents=True)
    (elsewhere / "events.jsonl").write_text("")
    lock = SpoolLock(elsewhere)
    bring_home(tmp_path / "spool" / "run")
    assert (elsewhere / "events.jsonl").exists()
    with pytest.raises(SpoolInUse):  # also where the mount is back: there would be two writers
        SpoolLock(tmp_path / "spool" / "run")
    lock.release()
    SpoolLock(tmp_path / "spool" / "run").release()
