"""Importing a library without another that it imports wherever that is installed."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_wandb() -> Generator[None]:
    """Where timm is imported, so that it does not import Weights & Biases: three seconds more, for a function unused.

    Example:
        >>> import sys
        >>> with without_wandb():
        ...     import timm
        >>> sys.modules.get("wandb", "not imported") is None
        False
    """
    if "wandb" in sys.modules:
        yield
        return
    sys.modules["wandb"] = None  # ty: ignore[invalid-assignment]  # Python's way to say that it cannot be imported
    try:
        yield
    finally:
        del sys.modules["wandb"]
