import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from covidmt.tracking.store import Store
from covidmt.tracking.ui import open_ui
from experiments.errors import UserError

pytestmark = pytest.mark.slow


def test_no_store_yet_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="covidmt train"):
        open_ui(Store(f"sqlite:///{tmp_path}/mlflow.db"))


def test_port_in_use_is_said(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 cannot be used"):
            open_ui(Store(f"sqlite:///{tmp_path}/mlflow.db"), port)


def test_server_has_its_own_ui() -> None:
    with pytest.raises(UserError, match="http://server:5000 is a server with its own UI"):
        open_ui(Store("http://server:5000"))


def test_ui_serves_the_store_on_this_machine_alone(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store(uri)
    store.prepare()
    store.open_experiment("xray")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    imports = "from covidmt.tracking.store import Store; from covidmt.tracking.ui import open_ui"
    code = f"{imports}; open_ui(Store({uri!r}), {port})"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(1200):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
            data=b'{"max_results": 10}',
            headers={"Content-Type": "application/json"},
        )
        experiments = urllib.request.urlopen(request, timeout=30).read()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert b"MLflow" in page
    assert b'"xray"' in experiments
    assert f"127.0.0.1:{port}" in (tmp_path / "log").read_text()
    assert "Warning" not in (tmp_path / "log").read_text()
    assert "0.0.0.0" not in (tmp_path / "log").read_text().replace("--host 0.0.0.0", "")
