"""The sending thread and `sync`, with live, killed and silent processes and servers."""

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
from mlflow.tracking import MlflowClient

from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.tracking.sender import Sender, sync
from covidmt.tracking.spool import Spool
from covidmt.tracking.spool.place import SpoolInUse
from covidmt.tracking.store import Store
from experiments.schema import Tracking


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


@pytest.mark.filterwarnings("ignore:Exception in thread mlflow-sender")
@pytest.mark.parametrize("silent", [TimeoutError(), SystemExit()])
def test_an_error_without_a_word_neither_ends_the_sending_nor_hangs_its_end(
    new_spool: Callable[[], Spool], monkeypatch: pytest.MonkeyPatch, silent: BaseException
) -> None:
    """Of the second kind not even the thread survives: what it had not sent waits for `sync`."""
    spool, errors = new_spool(), [silent]
    send = spool.send

    def send_later(client: MlflowClient) -> int:
        if errors:
            raise errors.pop()
        return send(client)

    monkeypatch.setattr(spool, "send", send_later)
    spool.append("metrics", points=[["loss", 1.0, 1000, 0]])
    sender = Sender(spool, interval=0.01)
    sender.start()
    assert sender.flush(60) is isinstance(silent, Exception)
    assert sender.stop()
    spool.close()


def _write_and_hang(folder: Path, store: Store, ready) -> None:
    spool = Spool(folder, store)
    spool.append("status", status="RUNNING", time=1)
    spool.append("metrics", points=[["loss", 1.0, 1000, 0]])
    ready.set()
    time.sleep(600)


@pytest.mark.slow
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
        for _ in range(6000):
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


@pytest.mark.slow
def test_server_killed_in_mid_run_costs_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    logger = MlflowSpoolLogger(Tracking(uri=server.uri, system_metrics=False), patience=120)

    def log(steps: range) -> None:
        for step in steps:
            logger.log_metrics({"train/loss": step / 7}, step)
        logger.log_image("gradcam/00", [np.full((8, 8, 3), steps.start % 256, np.uint8)], steps.start)
        logger.log_text_file(f"from {steps.start}", f"notes/{steps.start}.txt")

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
