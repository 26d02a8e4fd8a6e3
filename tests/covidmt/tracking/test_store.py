import multiprocessing
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from covidmt.tracking.store import Store, network_file_system
from experiments.errors import UserError
from experiments.schema import Tracking


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_default_store_is_absolute_and_below_the_working_folder(tmp_path: Path) -> None:
    assert Store.of(Tracking()).uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


def test_yaml_wins_over_environment_wins_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    assert Store.of(Tracking()).uri == "http://environment:5000"
    assert Store.of(Tracking(uri="http://yaml:5000")).uri == "http://yaml:5000"


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("sqlite:///other/runs.db", "sqlite:///{cwd}/other/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("sqlite:///runs.db?timeout=60", "sqlite:///{cwd}/runs.db?timeout=60"),
        ("postgresql+psycopg2://me:pw@db/runs", "postgresql+psycopg2://me:pw@db/runs"),
        ("databricks", "databricks"),
    ],
)
def test_resolved_uri(given: str, resolved: str, tmp_path: Path) -> None:
    assert Store.of(Tracking(uri=given)).uri == resolved.format(cwd=tmp_path)


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("./mlruns", "sqlite:///./mlruns/mlflow.db"),
        ("file:///data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("htp://server:5000", "http"),
    ],
)
def test_unusable_uri_is_said_with_its_key(uri: str, remedy: str) -> None:
    with pytest.raises(UserError, match=r"tracking\.uri") as error:
        Store.of(Tracking(uri=uri))
    assert remedy in str(error.value)


def test_file_store_in_the_environment_is_said_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:/data/mlruns")
    with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI.*sqlite:////data/mlruns/mlflow\.db"):
        Store.of(Tracking())


def _open(uri: str, barrier, results) -> None:
    barrier.wait()
    try:
        store = Store(uri)
        store.prepare()
        client, experiment = store.client, store.open_experiment("fresh")
        run = client.create_run(experiment).info
        client.log_metric(run.run_id, "loss", 1.0)
        results.put((experiment, run.artifact_uri))
    except Exception as error:
        results.put(error)


@pytest.mark.slow
def test_six_processes_at_once_on_a_fresh_store(tmp_path: Path) -> None:
    uri = Store.of(Tracking()).uri
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store"])
    barrier, results = context.Barrier(6), context.Queue()
    processes = [context.Process(target=_open, args=(uri, barrier, results)) for _ in range(6)]
    for process in processes:
        process.start()
    opened = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert {experiment for experiment, _ in opened} == {opened[0][0]}
    assert all(artifacts.startswith(f"{tmp_path}/mlruns/artifacts/fresh/") for _, artifacts in opened)
    assert len(Store(uri).client.search_runs([opened[0][0]])) == 6
    assert sorted(file.name for file in (tmp_path / "mlruns").iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_deleted_experiment_is_said() -> None:
    store = Store.of(Tracking())
    store.prepare()
    store.client.delete_experiment(store.open_experiment("gone"))
    with pytest.raises(UserError, match="'gone' has been deleted"):
        store.open_experiment("gone")


def test_store_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be made"):
        Store.of(Tracking()).prepare()


def test_dead_server_is_said_at_the_start() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{uri} does not answer: start it"):
            Store(uri).prepare()


class Guarded(BaseHTTPRequestHandler):
    """A server that asks who one is: always, or but for its health."""

    open_health = False

    def do_GET(self) -> None:
        self.send_response(200 if self.open_health and self.path == "/health" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("open_health", [False, True])
def test_a_server_that_asks_who_one_is_names_the_variables(open_health: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Guarded, "open_health", open_health)
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = Store(f"http://127.0.0.1:{server.server_address[1]}")
        if open_health:
            store.prepare()
        ask = store.open_experiment if open_health else lambda _: store.prepare()
        with pytest.raises(UserError, match=r"set MLFLOW_TRACKING_USERNAME and .* or MLFLOW_TRACKING_TOKEN"):
            ask("covidmt")
        server.shutdown()


def test_a_locked_database_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    database = tmp_path / "mlflow.db"
    store = Store(f"sqlite:///{database}?timeout=0.5")
    store.prepare()
    with closing(sqlite3.connect(database)) as other:
        other.execute("begin exclusive")
        with pytest.raises(UserError, match="another program holds the database; end it, or wait for it"):
            store.open_experiment("covidmt")
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_error_inside_the_database_is_raised_and_not_logged_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    store.prepare()
    client = store.client
    experiment = client.create_experiment("covidmt")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("drop table runs")
    with pytest.raises(MlflowException, match="no such table: runs"):
        client.search_runs([experiment])
    assert not caplog.records
    assert "Traceback" not in "".join(capfd.readouterr())


MOUNTS = [("/", "ext4"), ("/home", "nfs4"), ("/home/me/scratch", "xfs"), ("/lustre", "lustre"), ("/mnt/a b", "cifs")]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/mlruns/mlflow.db", None),
        ("/home/me/mlruns/mlflow.db", "nfs4"),
        ("/home/me/scratch/mlflow.db", None),
        ("/homework/mlflow.db", None),
        ("/lustre/mlflow.db", "lustre"),
        ("/mnt/a b/mlflow.db", "cifs"),
    ],
)
def test_network_file_system_by_the_deepest_mount(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), MOUNTS) == kind


def test_network_file_system_of_this_machine_is_asked(tmp_path: Path) -> None:
    assert network_file_system(tmp_path / "absent" / "mlflow.db") in (None, "nfs", "nfs4", "9p", "lustre")
    assert network_file_system(tmp_path, [("/", "nfs"), (str(tmp_path), "nfs"), (str(tmp_path), "tmpfs")]) is None


def test_a_new_store_is_built_and_a_network_one_warned_about(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, copied_stores: Callable[[Path], None]
) -> None:
    monkeypatch.setattr("covidmt.tracking.store._create_database", copied_stores)  # the real builder
    monkeypatch.setattr("covidmt.tracking.store.network_file_system", lambda path: "beegfs")
    store = Store.of(Tracking())
    store.prepare()
    assert "network file system (beegfs)" in caplog.text
    assert [each.name for each in store.client.search_experiments()] == ["Default"]


def test_password_is_not_shown() -> None:
    store = Store("postgresql://me:secret@db/runs")
    assert f"{store} {store!r}" == "postgresql://me:***@db/runs Store('postgresql://me:***@db/runs')"
    assert store.uri == "postgresql://me:secret@db/runs"
    assert str(Store("https://t0ken@server")) == "https://***@server"


def test_a_database_that_a_killed_process_left_half_written_can_be_used(tmp_path: Path):
    Store(f"sqlite:///{tmp_path}/mlflow.db").prepare()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("PRAGMA cache_size = 1")  # pages go to the file before the end of the transaction
        rows = [(f"experiment {number}", 10 + number, "x" * 2000) for number in range(200)]
        database.executemany("INSERT INTO experiments (name, experiment_id, artifact_location) VALUES (?, ?, ?)", rows)
        for name in ("mlflow.db", "mlflow.db-journal"):
            shutil.copyfile(tmp_path / name, tmp_path / f"killed-{name}")
    killed = tmp_path / "killed-mlflow.db"
    reader = sqlite3.connect(f"file:{killed}?mode=ro", uri=True)
    with closing(reader), pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("PRAGMA schema_version")
    store = Store(f"sqlite:///{killed}")
    store.prepare()
    assert [each.name for each in store.client.search_experiments()] == ["Default"]
