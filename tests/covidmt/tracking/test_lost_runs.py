"""Spools, stores and runs that vanish under a run: at each moment nothing is lost silently, and nothing comes twice."""

import multiprocessing
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidmt.tracking.delivery import deliver
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.tracking.sender import Sender, end_orphans, noted_start, sync
from covidmt.tracking.spool.place import emergency_folder
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.schema import Tracking

pytestmark = pytest.mark.slow

QUIET = Tracking(system_metrics=False)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "work"


def steps(store: Store, run_id: str | None, key: str = "loss") -> list[int]:
    return sorted(point.step for point in store.client.get_metric_history(str(run_id), key))


def vanish(logger: MlflowSpoolLogger) -> None:
    shutil.rmtree(logger.spool_dir)


MOMENTS = {"before the first event": 0, "between two": 7, "before the last": 17}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_spool_that_vanishes_loses_no_metric(project: Path, moment: str, caplog: pytest.LogCaptureFixture):
    logger = MlflowSpoolLogger(QUIET)
    for step in range(18):
        if step == MOMENTS[moment]:
            vanish(logger)
        logger.log_metrics({"loss": 1 / (1 + step)}, step)
    logger.finalize("success")
    logger.close()
    logger.require_complete()  # all of it has been saved
    assert "has vanished" in caplog.text
    assert steps(logger.store, logger.run_id) == list(range(18))
    assert logger.store.client.get_run(str(logger.run_id)).info.status == "FINISHED"
    assert list((project / "mlruns" / "spool").iterdir()) == []


@pytest.mark.parametrize("readable", [True, False])
def test_pictures_are_saved_and_what_cannot_be_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, readable: bool):
    """``readable``: the files' content outlives their names; not where a file system is gone for good."""
    if not readable:
        monkeypatch.setattr("covidmt.tracking.spool.files.MOST_HELD", 0)
    logger = MlflowSpoolLogger(Tracking(uri=f"sqlite:///{project}/mlruns/mlflow.db", system_metrics=False), patience=5)
    assert logger._sender is not None
    logger._sender.stop()  # nothing is sent until the end
    logger.log_image("gradcam/00", [np.zeros((8, 8), np.uint8)], 0)
    vanish(logger)
    logger.log_metrics({"loss": 1.0}, 0)
    assert logger._spool is not None
    while logger._spool.send(logger.store.client):
        pass
    logger.close()
    if readable:
        logger.require_complete()
        assert len(logger.store.client.list_artifacts(str(logger.run_id), "images")) == 2
    else:
        with pytest.raises(UserError, match=r"spool vanished .* gradcam~00\+step\+0.*png \(in images\)"):
            logger.require_complete()
    assert steps(logger.store, logger.run_id) == [0]


WAYS = {
    "picture": lambda logger, _: logger.log_image("gradcam/00", [np.zeros((8, 8), np.uint8)], 0),
    "text": lambda logger, _: logger.log_text_file("hello", "notes/note.txt"),
    "file": lambda logger, folder: logger.log_artifact(folder / "table" / "a.csv", "notes"),
    "folder": lambda logger, folder: logger.log_artifact(folder / "table", "notes"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["while the file is written", "before its event", "before it is sent"])
def test_a_file_whose_folder_vanishes_at_any_moment_is_saved(
    project: Path, monkeypatch: pytest.MonkeyPatch, way: str, moment: str
):
    (project / "table").mkdir()
    (project / "table" / "a.csv").write_text("1,2")
    logger = MlflowSpoolLogger(QUIET, patience=5)
    spool = logger._spool
    assert spool is not None
    add, append, vanished = spool._files.add, spool.append, []

    def add_and_vanish(name: str, write: Callable[[Path], object]) -> str:
        def write_and_vanish(path: Path) -> None:
            write(path)
            if not vanished:
                vanished.append(vanish(logger))

        return add(name, write_and_vanish)

    def vanish_and_append(op: str, **payload: Any) -> None:
        if op == "artifact" and not vanished:
            vanished.append(vanish(logger))
        append(op, **payload)
        if op == "artifact" and moment == "before it is sent":
            shutil.rmtree(spool.folder / "files", ignore_errors=True)  # and its events are still there

    if moment == "while the file is written":
        monkeypatch.setattr(spool._files, "add", add_and_vanish)
    else:
        vanished += [None] if moment == "before it is sent" else []
        monkeypatch.setattr(spool, "append", vanish_and_append)
    WAYS[way](logger, project)
    logger.close()
    logger.require_complete()
    assert vanished == [None]
    client, run_id = logger.store.client, str(logger.run_id)
    files = [file.path for file in client.list_artifacts(run_id, "images" if way == "picture" else "notes")]
    if way == "picture":
        assert [Path(file).suffix for file in sorted(files)] == [".webp", ".png"]
    else:
        assert files == {"text": ["notes/note.txt"], "file": ["notes/a.csv"], "folder": ["notes/table"]}[way]
    if way == "folder":
        assert [file.path for file in client.list_artifacts(run_id, "notes/table")] == ["notes/table/a.csv"]


def test_what_is_logged_after_a_loss_is_sent_also_where_that_met_a_request(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    """The old file's end, which the request had reached, is no place in the new one."""
    logger = MlflowSpoolLogger(QUIET, patience=5)
    spool, sender = logger._spool, logger._sender
    assert spool is not None
    assert sender is not None
    sender.stop()
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step)

    def deliver_and_vanish(*arguments: Any) -> None:
        deliver(*arguments)
        vanish(logger)

    with monkeypatch.context() as patch:
        patch.setattr(spool._events, "read_all", lambda: None)  # as of a file system that is gone for good
        patch.setattr("covidmt.tracking.spool.spool.deliver", deliver_and_vanish)
        spool.send(logger.store.client)
    for step in (3, 4):
        logger.log_metrics({"loss": 1.0}, step)
    while spool.send(logger.store.client):
        pass
    assert steps(logger.store, logger.run_id)[-2:] == [3, 4]
    logger.close()
    with pytest.raises(UserError, match="events that had not been sent"):
        logger.require_complete()


def test_where_its_place_is_gone_a_run_is_written_elsewhere_and_comes_home(project: Path):
    """As when a mount goes away for good: its mount point cannot be written."""
    logger = MlflowSpoolLogger(QUIET, patience=0)
    assert logger._sender is not None
    assert logger._sender.flush(60)
    logger._sender.stop()
    vanish(logger)
    (project / "mlruns" / "spool").rmdir()
    (project / "mlruns" / "spool").write_text("no folder")
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step)
    logger.close()
    with pytest.raises(UserError, match=r"`covidmt sync --from .*covidmt-spool-"):
        logger.require_complete()
    away = emergency_folder(str(logger.run_id))
    assert (away / "events.jsonl").exists()

    (project / "mlruns" / "spool").unlink()  # it is back, and the run is resumed
    again = MlflowSpoolLogger(QUIET, run_id=logger.run_id, resume_at=0)
    for step in range(5):
        again.log_metrics({"loss": 1.0}, step)
    again.close()
    again.require_complete()
    assert steps(logger.store, logger.run_id) == [0, 1, 2, 3, 4]
    assert not away.exists()


def test_a_mount_that_goes_away_for_a_while(tmp_path: Path, project: Path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(project / "mlruns" / "spool")]
    (project / "mlruns" / "spool").mkdir(parents=True)
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here (needs root)")
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"loss": 1.0}, 0)
    subprocess.run(["umount", "--lazy", str(project / "mlruns" / "spool")], check=True)
    logger.log_metrics({"loss": 1.0}, 1)
    logger.finalize("success")
    logger.close()
    logger.require_complete()
    assert steps(logger.store, logger.run_id) == [0, 1]


def test_a_database_that_is_deleted_during_a_run_is_noticed_and_the_run_made_anew(project: Path):
    logger = MlflowSpoolLogger(QUIET, run_name="mine", tags={"sweep": "a"})
    for step in range(18):
        logger.log_metrics({"loss": 1.0}, step)
        if step == 2:
            logger.log_text_file("hello", "notes/note.txt")
            assert logger._sender is not None
            assert logger._sender.flush(60)
            (project / "mlruns" / "mlflow.db").unlink()
    folder = RunFolder(str(logger.run_id))
    folder.checkpoints.mkdir(parents=True)
    folder.last.touch()
    logger.finalize("success")
    logger.close()
    with pytest.raises(UserError, match=r"was removed or replaced .* `covidmt sync` makes the run anew"):
        logger.require_complete()

    (report,) = sync(project / "mlruns" / "spool")
    assert (report.problem, report.made_anew_of) == (None, logger.run_id)
    client = logger.store.client
    run = client.get_run(report.run_id)
    assert steps(logger.store, report.run_id) == list(range(18))
    assert (run.info.run_name, run.info.status, run.data.tags["sweep"]) == ("mine", "FINISHED", "a")
    assert [file.path for file in client.list_artifacts(report.run_id, "notes")] == ["notes/note.txt"]
    assert RunFolder(report.run_id).last.exists()
    assert not folder.checkpoints.exists()
    assert sync(project / "mlruns" / "spool") == []


def test_a_run_made_anew_has_the_artifacts_of_its_earlier_starts(project: Path):
    first = MlflowSpoolLogger(QUIET)
    first.log_text_file("first", "notes/a.txt")
    first.log_text_file("first", "root.txt")
    first.close()
    assert not first.spool_dir.exists()  # the store alone has them
    again = MlflowSpoolLogger(QUIET, run_id=first.run_id, resume_at=0)
    again.log_text_file("again", "notes/b.txt")
    assert again._sender is not None
    assert again._sender.flush(60)
    (project / "mlruns" / "mlflow.db").unlink()
    again.log_metrics({"loss": 1.0}, 0)
    again.close()
    (report,) = sync(project / "mlruns" / "spool")
    assert (report.problem, report.made_anew_of) == (None, first.run_id)
    client = again.store.client
    assert [file.path for file in client.list_artifacts(report.run_id)] == ["notes", "root.txt"]
    assert [file.path for file in client.list_artifacts(report.run_id, "notes")] == ["notes/a.txt", "notes/b.txt"]


def damage(database: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(database)) as connection:
        (page,) = connection.execute("select rootpage from sqlite_master where name = ?", (table,)).fetchone()
        (size,) = connection.execute("pragma page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("table", ["metrics", "runs"])
def test_a_damaged_page_names_the_way_out_and_that_is_one(
    project: Path, table: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    database, copy = project / "mlruns" / "mlflow.db", project / "copy.db"
    logger = MlflowSpoolLogger(QUIET, patience=2)
    assert logger._sender is not None
    assert logger._sender.flush(60)
    logger._sender.stop()
    shutil.copyfile(database, copy)
    damage(database, table)
    logger.log_metrics({"loss": 1.0}, 0)
    logger._sender = Sender(logger._spool)
    logger._sender.start()
    logger.close()
    for words in ("the file is damaged", ".recover", "`covidmt sync` sends it then", "Nothing is lost"):
        assert words in caplog.text
    (report,) = sync(project / "mlruns" / "spool")
    assert "the file is damaged; restore it from a copy" in str(report.problem)
    if table == "runs":
        with pytest.raises(UserError, match="the file is damaged; restore it"):
            MlflowSpoolLogger(QUIET)

    copy.replace(database)
    (report,) = sync(project / "mlruns" / "spool")
    assert report.problem is None
    assert steps(logger.store, logger.run_id) == [0]


def test_a_database_that_another_takes_the_place_of(project: Path):
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"loss": 1.0}, 0)
    assert logger._sender is not None
    assert logger._sender.flush(60)
    shutil.copyfile(project / "mlruns" / "mlflow.db", project / "copy.db")
    (project / "copy.db").replace(project / "mlruns" / "mlflow.db")
    logger.log_metrics({"loss": 1.0}, 1)
    logger.close()
    with pytest.raises(UserError, match="was removed or replaced"):
        logger.require_complete()
    (report,) = sync(project / "mlruns" / "spool")  # this one knows the run: it gets the rest
    assert (report.problem, report.made_anew_of, report.run_id) == (None, None, logger.run_id)
    assert steps(logger.store, logger.run_id) == [0, 1]


def _create_and_hang(folder: Path, uri: str, experiment: str, created) -> None:
    store = Store(uri)
    with noted_start(store, folder) as tags:
        created.put(store.client.create_run(experiment, tags=dict(tags)).info.run_id)
        created.get()


def test_a_run_whose_maker_was_killed_before_its_first_note_is_ended(project: Path):
    store, spools = Store.of(QUIET), project / "mlruns" / "spool"
    store.prepare()
    context = multiprocessing.get_context("forkserver")
    created = context.Queue()
    arguments = (spools, store.uri, store.open_experiment("covidmt"), created)
    process = context.Process(target=_create_and_hang, args=arguments)
    process.start()
    run_id = created.get(timeout=300)
    assert end_orphans(spools) == []  # its maker lives
    process.kill()
    process.join()
    assert end_orphans(spools) == [run_id]
    assert store.client.get_run(run_id).info.status == "KILLED"
    assert list(spools.iterdir()) == []


def test_a_start_that_the_store_refuses_leaves_no_note(project: Path):
    store, spools = Store.of(QUIET), project / "mlruns" / "spool"
    store.prepare()
    with pytest.raises(ZeroDivisionError), noted_start(store, spools):
        raise ZeroDivisionError
    assert end_orphans(spools) == []
    assert list(spools.iterdir()) == []
