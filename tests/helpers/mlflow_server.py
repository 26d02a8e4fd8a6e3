"""A real ``mlflow server`` on a database and a folder of its own, and a checkpoint to log to it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import requests
import torch

from experiments.load import to_dict
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import experiment


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until_answers(address: str, process: subprocess.Popen, seconds: float = 420) -> None:
    """Wait for a server to be up; a process that has ended fails at once."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"{address}: its process ended with {process.returncode}"
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise AssertionError(f"{address} does not answer")


@contextmanager
def mlflow_server(folder: Path) -> Generator[str]:
    """The address of a server that keeps artifacts itself, as one for several machines does."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")),
    ]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def save_checkpoint(path: Path, seed: int = 0, *overrides: str) -> MultiTaskModule:
    """Write a small untrained network as `covidmt train` does; return it."""
    torch.manual_seed(seed)
    module = MultiTaskModule(experiment("model.backbone=timm:test_resnet", *overrides), pretrained=False).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": module.state_dict(), "experiment": to_dict(module.experiment)}, path)
    return module
