"""Two processes of one process group, of which the test itself is the first."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist


def on_two_processes(function: Callable[[int], Any], folder: Path) -> tuple[Any, Any]:
    """Return what a function of a module gives for the ranks 0 and 1."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        second = pool.apply_async(_join, (function, folder / "meeting", 1))
        return _join(function, folder / "meeting", 0), second.get(timeout=300)


def _join(function: Callable[[int], Any], meeting: Path, rank: int) -> Any:
    timeout = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timeout)
    try:
        return function(rank)
    finally:
        dist.destroy_process_group()
