"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from experiments.errors import UserError


def expand(path: str | Path) -> Path:
    """The path with the home folder in place of ``~`` or ``~user``.

    Raises:
        UserError: There is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: its '~' stands for no home folder here; write the path in full") from error
