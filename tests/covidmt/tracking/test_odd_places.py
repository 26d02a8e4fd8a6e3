"""Working folders with characters in their names that mean something elsewhere: they work whole, or are refused."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from covidmt.tracking.store import Store
from datamodules.demo.write import write_demo
from experiments.errors import UserError
from experiments.schema import Tracking
from tests.conftest import REPO
from tests.helpers import kill
from tests.helpers.chaos import TINY

WORKING = " '\"`#%;&$*[a]:=+,@~\\{}()\tä\n|<>!^"
REFUSED = ["a?b", "a%20b", "50%25", "what?"]


@pytest.fixture(autouse=True)
def _default_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("uri", [None, "sqlite:///other/my.db"])
def test_a_folder_that_a_uri_would_mistake_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, uri: str | None
):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match=r"the tracking store cannot lie below a folder with .* rename the folder"):
        Store.of(Tracking(uri=uri))
    assert Store.of(Tracking(uri=f"sqlite:///{tmp_path}/other.db")).database == tmp_path / "other.db"
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize("arguments", [["train", *TINY], ["ui"], ["report", "base"], ["evaluate", "0" * 32]])
def test_commands_refuse_it_before_they_do_anything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    covidmt: Callable[..., int],
    arguments: list[str],
):
    (tmp_path / "a?b").mkdir()
    monkeypatch.chdir(tmp_path / "a?b")
    assert covidmt(*arguments) == 2
    assert "a folder with '?' in its name" in capsys.readouterr().err
    assert list((tmp_path / "a?b").iterdir()) == []


@pytest.mark.slow
def test_every_command_works_in_a_folder_of_odd_characters(tmp_path: Path):
    write_demo(tmp_path / "data", seed=0, size=64, patients=48)
    folder = tmp_path / WORKING
    log = folder / "log-0.txt"
    arguments = [*TINY, f"data.root={tmp_path / 'data'}", "checkpoint.keep=all"]
    assert kill.train(folder, arguments) == [0], log.read_text()[-2000:]
    client = MlflowClient(Store(f"sqlite:///{folder}/mlruns/mlflow.db").uri)
    ((run,),) = [client.search_runs([e.experiment_id]) for e in client.search_experiments() if e.name == "covidmt"]
    run_id = run.info.run_id
    assert (folder / "mlruns" / "artifacts" / "covidmt" / run_id / "artifacts" / "checkpoints" / "best.ckpt").is_file()

    for command in (["evaluate", run_id, "--resamples", "100"], ["report", run_id], ["sync"]):
        process = kill.start(folder, command)
        process.start()
        process.join(400)
        assert process.exitcode == 0, (command, log.read_text()[-2000:])
    assert (folder / "report" / "report.html").exists()
    assert "test/pi_score" in client.get_run(run_id).data.metrics
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["data", WORKING])  # and nothing beside it
    _look_at(folder, f"get-artifact?run_uuid={run_id}&path=checkpoints/best.ckpt")


def _look_at(folder: Path, address: str) -> None:
    """Read a file of the store through `covidmt ui`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "ui.txt").open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "covidmt", "ui", "--port", str(port)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPO)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        for _ in range(2400):
            try:
                assert urllib.request.urlopen(f"http://127.0.0.1:{port}/{address}", timeout=60).read()[:2] == b"PK"
                return
            except OSError:
                assert server.poll() is None, (folder / "ui.txt").read_text()
                time.sleep(0.1)
        raise AssertionError((folder / "ui.txt").read_text())
    finally:
        os.killpg(server.pid, 9)
        server.wait()
