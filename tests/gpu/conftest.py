"""The tests in this folder need a CUDA device: ``make gpu-test``."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def device() -> torch.device:
    """The first GPU; skips where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def repeatable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Full float32 everywhere, and what deterministic matrix products need."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("highest")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
