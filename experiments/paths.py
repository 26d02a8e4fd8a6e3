"""Paths as people write them, and the absolute ones that settings give the rest of the project.

Settings keep what was written: a trial's identity and a checkpoint must mean the same in another folder, on another
machine. Whoever opens a file takes the schema's absolute path (``source.folder``, ``masks.cache_folder``).
"""

from __future__ import annotations

from pathlib import Path

from experiments.errors import UserError


def expand(path: str | Path) -> Path:
    """Return the path with the home folder in place of ``~`` or ``~user``.

    Raises:
        UserError: There is no such user, or no home folder.

    >>> expand("cxr/nih")
    PosixPath('cxr/nih')
    >>> expand("~nosuchuser/cxr")
    Traceback (most recent call last):
    experiments.errors.UserError: ~nosuchuser/cxr: its '~' stands for no home folder here; write the path in full
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: its '~' stands for no home folder here; write the path in full") from error


def absolute(path: str | Path) -> Path:
    """Return the path, ``~`` expanded, below the working folder if it is relative.

    Raises:
        UserError: As :func:`expand`.

    >>> absolute("cxr") == Path.cwd() / "cxr"
    True
    >>> absolute("/data/cxr")
    PosixPath('/data/cxr')
    """
    return expand(path).absolute()
