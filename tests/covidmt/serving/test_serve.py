"""The command's mistakes, each one message before anything is loaded."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.mlflow_server import save_checkpoint


def test_mistakes_are_said(covidmt: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch):
    save_checkpoint(tmp_path / "best.ckpt", 0, "active_tasks=[covidx]")
    monkeypatch.delenv("COVIDMT_SERVE_TOKEN", raising=False)

    def message(*arguments: object) -> str:
        assert covidmt("serve", *arguments) == 2
        return capfd.readouterr().err

    assert "a token is needed" in message("best.ckpt", "--host", "0.0.0.0")
    assert "neither a checkpoint file nor a run" in message("absent.ckpt", "--port", "0")
    assert "--channel: no channel 'whatsap'" in message("best.ckpt", "--port", "0", "--channel", "whatsap")
    (tmp_path / "file").touch()
    assert "--keep file: cannot be made" in message("best.ckpt", "--port", "0", "--keep", "file")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: cannot be served" in message("best.ckpt", "--port", port)
    monkeypatch.setenv("COVIDMT_TELEGRAM_URL", "http://localhost")
    assert "COVIDMT_TELEGRAM_URL is set, but not COVIDMT_TELEGRAM_TOKEN" in message("best.ckpt", "--port", "0")
