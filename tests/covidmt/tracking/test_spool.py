import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.tracking.sender import sync
from covidmt.tracking.spool import Spool, SpoolInUse
from covidmt.tracking.store import Store
from experiments.schema import Tracking


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
    store.prepare()
    return store


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return store.client


@pytest.fixture
def new_spool(store: Store, client: MlflowClient, tmp_path: Path) -> Callable[[], Spool]:
    def new() -> Spool:
        run = client.create_run(store.open_experiment("spool"))
        return Spool(tmp_path / "spool" / run.info.run_id, store)

    return new


def _send_all(spool: Spool, client: MlflowClient) -> int:
    return sum(iter(lambda: spool.send(client), 0))


def _history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, int, str]]:
    return sorted((m.step, m.timestamp, repr(m.value)) for m in client.get_metric_history(run_id, key))


def _rewind(spool: Spool, to: int = 0) -> Spool:
    """The store took everything, the process died before it wrote down more than ``to``."""
    os.close(spool._lock)
    (spool.folder / "sent").write_text(str(to))
    return Spool(spool.folder)


def test_every_kind_of_event_sent_twice_counts_once(new_spool: Callable[[], Spool], client: MlflowClient) -> None:
    spool = new_spool()
    path, name = spool.new_file("note.txt")
    path.write_text("hello")
    dataset = {
        "name": "nih",
        "digest": "0" * 32,
        "source_type": "local",
        "source": "{}",
        "schema": None,
        "profile": None,
    }
    spool.append("status", status="RUNNING", time=1)
    spool.append("metrics", points=[["loss", 0.1, 1000, 0], ["nan", float("nan"), 1000, 0]])
    spool.append("metrics", points=[["loss", 0.1, 1001, 1], ["inf", float("-inf"), 1001, 0]])
    spool.append("params", values={"lr": "0.1"})
    spool.append("tags", values={"sweep": "a"})
    spool.append("artifact", file=name, path="notes")
    spool.append("inputs", datasets=[{"dataset": dataset, "tags": {"mlflow.data.context": "train"}}])
    spool.append("metrics", points=[["loss", 0.3, 1002, 2]])
    spool.append("status", status="FINISHED", time=2000)
    for _ in range(2):
        assert _send_all(spool, client) == 9
        assert spool.pending == 0
        path.parent.mkdir(exist_ok=True)
        path.write_text("hello")
        spool = _rewind(spool)
    run = client.get_run(spool.run_id)
    assert _history(client, spool.run_id, "loss") == [(0, 1000, "0.1"), (1, 1001, "0.1"), (2, 1002, "0.3")]
    assert _history(client, spool.run_id, "nan") == [(0, 1000, "nan")]
    assert _history(client, spool.run_id, "inf") == [(0, 1001, repr(-sys.float_info.max))]
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["sweep"] == "a"
    assert [file.path for file in client.list_artifacts(spool.run_id, "notes")] == ["notes/note.txt"]
    assert run.inputs is not None
    (dataset_input,) = run.inputs.dataset_inputs
    assert dataset_input.tags[0].value == "train"
    assert (run.info.status, run.info.end_time) == ("FINISHED", 2000)


@settings(max_examples=8, deadline=None)
@given(
    events=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.floats(width=32, allow_infinity=False)), min_size=1, max_size=4),
        max_size=8,
    ),
    deaths=st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1)), max_size=3),
)
def test_nothing_is_lost_or_doubled_whenever_the_process_dies(
    store: Store, tmp_path_factory: pytest.TempPathFactory, events: list[list], deaths: list[tuple[int, float]]
) -> None:
    client = store.client
    run_id = client.create_run(store.open_experiment("property")).info.run_id
    spool = Spool(tmp_path_factory.mktemp("spool") / run_id, store)
    expected: dict[str, list] = {"a": [], "b": []}
    ends = [0]
    for index, points in enumerate(events):
        spool.append(
            "metrics", points=[[key, value, 1000 + index, number] for number, (key, value) in enumerate(points)]
        )
        ends.append(spool._size)
        for number, (key, value) in enumerate(points):
            expected[key].append((number, 1000 + index, repr(value + 0.0)))  # sqlite knows no -0.0
        for _ in [death for death in deaths if death[0] == index]:
            _send_all(spool, client)
            os.close(spool._lock)
            back_to = ends[int(next(share for at, share in deaths if at == index) * (len(ends) - 1))]
            (spool.folder / "sent").write_text(str(back_to))
            with (spool.folder / "events.jsonl").open("ab") as file:
                file.write(b'{"op": "metrics", "points": [["a", 7')  # a line half written
            spool = Spool(spool.folder)
    _send_all(spool, client)
    for key, points in expected.items():
        assert _history(client, run_id, key) == sorted(points)
    spool.close()
    assert not spool.folder.exists()


def test_batches_keep_to_the_limit_and_the_order(new_spool: Callable[[], Spool], client: MlflowClient) -> None:
    spool = new_spool()
    for step in range(1500):
        spool.append("metrics", points=[["loss", float(step), 1000 + step, step]])
    spool.append("tags", values={"a": "1"})
    spool.append("metrics", points=[["loss", 0.0, 9000, 1500]])
    assert [spool.send(client) for _ in range(5)] == [1000, 500, 1, 1, 0]
    assert len(client.get_metric_history(spool.run_id, "loss")) == 1501


def test_refused_event_is_kept_named_and_tried_once_more(
    new_spool: Callable[[], Spool], client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    spool = new_spool()
    spool.append("metrics", points=[["good", 1.0, 1000, 0]])
    spool.append("metrics", points=[["bad(key)", 1.0, 1000, 0]])
    spool.append("metrics", points=[["good", 2.0, 1001, 1]])
    spool.append("artifact", file="absent/file.txt", path=None)
    assert _send_all(spool, client) == 4
    assert len(client.get_metric_history(spool.run_id, "good")) == 2
    assert spool.rejected is not None
    assert [json.loads(line)["op"] for line in spool.rejected.open()] == ["metrics", "artifact"]
    assert "refuses metrics" in caplog.text
    spool.close()
    (report,) = sync(spool.folder.parent)
    assert report.sent == 3  # the two, and the status of a run that ended without a word
    assert report.problem is not None
    assert "rejected.jsonl" in report.problem


def test_deleted_run_keeps_its_events_until_it_is_restored(
    new_spool: Callable[[], Spool], client: MlflowClient
) -> None:
    spool = new_spool()
    spool.append("metrics", points=[["loss", 1.0, 1000, 0]])
    spool.append("status", status="FINISHED", time=1)
    spool.close()
    client.delete_run(spool.run_id)
    (report,) = sync(spool.folder.parent)
    assert report.problem is not None
    assert "deleted" in report.problem
    client.restore_run(spool.run_id)
    (report,) = sync(spool.folder.parent)
    assert (report.sent, report.problem) == (2, None)
    assert sync(spool.folder.parent) == []


def test_full_disk_leaves_no_half_line(new_spool: Callable[[], Spool], client: MlflowClient) -> None:
    import resource

    spool = new_spool()
    spool.append("metrics", points=[["loss", 1.0, 1000, 0]])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.pending + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="space"):
            spool.append("metrics", points=[["loss", 2.0, 1001, 1]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    spool.append("metrics", points=[["loss", 3.0, 1002, 2]])
    _send_all(spool, client)
    assert [m.value for m in client.get_metric_history(spool.run_id, "loss")] == [1.0, 3.0]


def _write_and_hang(folder: Path, store: Store, ready) -> None:
    spool = Spool(folder, store)
    spool.append("status", status="RUNNING", time=1)
    spool.append("metrics", points=[["loss", 1.0, 1000, 0]])
    ready.set()
    time.sleep(600)


def test_spool_of_a_live_process_is_left_alone_and_of_a_killed_one_sent(
    store: Store, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = client.create_run(store.open_experiment("spool")).info.run_id
    context = multiprocessing.get_context("forkserver")
    ready = context.Event()
    process = context.Process(target=_write_and_hang, args=(tmp_path / run_id, store, ready))
    process.start()
    assert ready.wait(120)
    with pytest.raises(SpoolInUse):
        Spool(tmp_path / run_id)
    (report,) = sync(tmp_path)
    assert (report.sent, report.problem) == (0, "a live process writes it: nothing to do")
    process.kill()
    process.join()
    (report,) = sync(tmp_path)
    assert (report.run_id, report.sent, report.problem) == (run_id, 3, None)
    assert client.get_run(run_id).info.status == "KILLED"
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}
    assert list(tmp_path.iterdir()) == []


def test_spool_of_another_machine_waits_for_signs_of_life(new_spool: Callable[[], Spool]) -> None:
    spool = new_spool()
    os.close(spool._lock)  # as seen where the file system does not pass locks on
    lock = spool.folder / "lock"
    lock.write_text("another-machine")
    with pytest.raises(SpoolInUse):
        Spool(spool.folder)
    for file in (lock, spool.folder / "events.jsonl"):
        os.utime(file, (1, 1))
    Spool(spool.folder).close()
    assert not spool.folder.exists()


class Server:
    """A real MLflow server on its own sqlite file."""

    def __init__(self, root: Path):
        self.root = root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.root}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.root / "served")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.root / "server.log").open("a") as out:
            self.process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=out, cwd=self.root, start_new_session=True
            )
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, (self.root / "server.log").read_text()
                time.sleep(0.1)
        raise TimeoutError

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def test_server_killed_in_mid_run_costs_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    logger = MlflowSpoolLogger(Tracking(uri=server.uri, system_metrics=False), patience=120)

    def log(steps: range) -> None:
        for step in steps:
            logger.log_metrics({"train/loss": step / 7}, step)
        logger.log_image("gradcam/00", [np.full((8, 8, 3), steps.start % 256, np.uint8)], steps.start)
        logger.log_text(f"from {steps.start}", f"notes/{steps.start}.txt")

    log(range(1000))
    server.kill()  # some of it sent, some in flight, some not
    log(range(1000, 1500))
    assert logger._sender is not None
    _wait_until(lambda: logger._sender is not None and logger._sender.error is not None)
    assert "The run continues" in caplog.text

    server.start()
    log(range(1500, 1600))
    logger.finalize("success")  # waits for the retry
    client = Store(server.uri).client
    assert logger.run_id is not None
    history = client.get_metric_history(logger.run_id, "train/loss")
    assert sorted((m.step, m.value) for m in history) == [(step, step / 7) for step in range(1600)]
    assert client.get_run(logger.run_id).info.status == "FINISHED"

    server.kill()  # and does not come back before the end
    log(range(1600, 1700))
    logger._patience = 0.0
    logger.fail(RuntimeError("after the server's death"))
    assert "covidmt sync" in caplog.text
    (report,) = sync(tmp_path / "mlruns" / "spool")
    assert report.problem is not None

    server.start()
    (report,) = sync(tmp_path / "mlruns" / "spool")
    assert report.problem is None
    history = client.get_metric_history(logger.run_id, "train/loss")
    assert sorted((m.step, m.value) for m in history) == [(step, step / 7) for step in range(1700)]
    assert client.get_run(logger.run_id).info.status == "FAILED"
    starts = [0, 1000, 1500, 1600]
    notes = [f"notes/{start}.txt" for start in starts]
    assert sorted(file.path for file in client.list_artifacts(logger.run_id, "notes")) == sorted(notes)
    pictures = [file.path for file in client.list_artifacts(logger.run_id, "images")]
    assert sorted(int(path.split("+")[2]) for path in pictures) == sorted(2 * starts)
    assert not list((tmp_path / "mlruns" / "spool").iterdir())


def test_a_signal_that_leaves_from_the_middle_of_an_event(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run", Store("sqlite:///nowhere.db"))

    def leave(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, leave)
    try:
        for turn in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (10 + turn))
                while True:
                    spool.append("metrics", points=[["a", 1.0, 0, 0]])
            except InterruptedError:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    spool.append("status", status="SCHEDULED", time=0)  # what a preempted run writes next
    content = (tmp_path / "run" / "events.jsonl").read_bytes()
    assert len([json.loads(line) for line in content.splitlines()]) > 300
    assert spool.pending == len(content)
