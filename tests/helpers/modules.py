"""Modules of a user's own, under names that no other test has."""

from __future__ import annotations

from itertools import count
from pathlib import Path

_numbers = count()


def write_module(folder: Path, text: str) -> str:
    """Write a module, and return its name."""
    name = f"own_module_{next(_numbers)}"
    (folder / f"{name}.py").write_text(text)
    return name
