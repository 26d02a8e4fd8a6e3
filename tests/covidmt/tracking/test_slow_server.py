"""A resumed run asks a slow server what it has: few requests, at once, and not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest
import requests
from mlflow.entities import Metric, Run

from covidmt.tracking import replay
from covidmt.tracking.delivery import Point
from covidmt.tracking.replay import read_logged
from covidmt.tracking.store import Store, StoreAway
from tests.helpers.mlflow_server import mlflow_server

pytestmark = pytest.mark.slow

KEYS = 40


class SlowRelay(ThreadingHTTPServer):
    """Hands requests on to a server, each after a while, and notes them."""

    def __init__(self, server: str, seconds: float):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server_url, self.seconds = server, seconds
        self.lock = threading.Lock()
        self.waiting = self.most = 0
        self.histories: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: SlowRelay

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.waiting += 1
            self.server.most = max(self.server.most, self.server.waiting)
            if "/metrics/get-history" in self.path:
                self.server.histories.append(self.path)
        time.sleep(self.server.seconds)
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        header = {"content-type": self.headers["content-type"]}
        answer = requests.request(
            self.command, self.server.server_url + self.path, data=body, headers=header, timeout=60
        )
        with self.server.lock:
            self.server.waiting -= 1
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def run(server: str) -> Run:
    """Forty metrics of two points each, of which every other one got its second after the checkpoint at time 100."""
    client = mlflow.MlflowClient(server)
    run = client.create_run("0")
    points = []
    for key in range(KEYS):
        points += [Metric(f"m{key}", 0.5, 50, 0), Metric(f"m{key}", 0.6, 150 if key % 2 else 90, 1)]
    client.log_batch(run.info.run_id, metrics=points)
    return client.get_run(run.info.run_id)


def test_what_is_new_is_asked_for_at_once(server: str, run: Run):
    relay = SlowRelay(server, seconds=0.2)
    logged = read_logged(Store(relay.url), run, position=100)
    assert {point for point in logged if point.timestamp > 100} == {
        Point(f"m{key}", 1, 150) for key in range(1, KEYS, 2)
    }
    assert len(relay.histories) == KEYS // 2  # the others have got nothing since
    assert relay.most >= 4


def test_a_server_that_does_not_answer_ends_the_resume_with_a_message(
    server: str, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replay, "SECONDS", 0.5)
    with pytest.raises(StoreAway, match=f"has not told within 0 s what run {run.info.run_id}"):
        read_logged(Store(SlowRelay(server, seconds=3).url), run, position=100)
