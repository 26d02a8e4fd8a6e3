"""The command's mistakes, each one message before anything is loaded; and its socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from covidmt.serving.serve import bind
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


def test_an_answer_does_not_wait_for_the_clients_word():
    async def waits() -> bool:
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            asked.set_result(not option)
            writer.close()

        with bind("127.0.0.1", 0) as sock:
            server = await asyncio.start_server(answer, sock=sock)
            _, writer = await asyncio.open_connection(*sock.getsockname()[:2])
            writer.close()
            async with server:
                return await asked

    assert not asyncio.run(waits())
