"""Paths as people write them, the absolute ones that settings give the rest of the project, and names of folders.

Settings keep what was written: a trial's identity and a checkpoint must mean the same in another folder, on another
machine. Whoever opens a file takes the schema's absolute path (``source.folder``, ``masks.cache_folder``).
"""

from __future__ import annotations

import re
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


def require_name(name: str, what: str) -> str:
    """Return a name that becomes a file's or folder's; refuse one that would lead elsewhere, whoever it comes from.

    Args:
        name: Letters, digits and ``_ . , + = @ -``, the first a letter, a digit or ``_``.
        what: What it names, for the message.

    Raises:
        UserError: It holds something else, or is too long.

    >>> require_name("base_against_covidmt", "sweep")
    'base_against_covidmt'
    >>> require_name("../../etc", "run")
    Traceback (most recent call last):
    experiments.errors.UserError: run '../../etc': is no name of a folder: use letters, digits, - and _
    """
    if len(name.encode(errors="replace")) > 200 or not re.fullmatch(r"\w[\w.,+=@-]*", name):
        shown = name if len(name) <= 80 else f"{name[:80]}..."
        raise UserError(f"{what} {shown!r}: is no name of a folder: use letters, digits, - and _")
    return name


def require_inside(path: str, folder: Path, what: str) -> Path:
    """Return a relative path below a folder; refuse one that leads out of it.

    Raises:
        UserError: It is absolute, or has ``..`` in it.

    >>> require_inside("0f1e/note.txt", Path("/spool"), "event")
    PosixPath('/spool/0f1e/note.txt')
    >>> require_inside("../../etc/passwd", Path("/spool"), "event")
    Traceback (most recent call last):
    experiments.errors.UserError: event: '../../etc/passwd' leads out of /spool
    """
    relative = Path(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise UserError(f"{what}: {path!r} leads out of {folder}")
    return folder / relative


def folder_name(text: str) -> str:
    """Return a name of a folder that resembles a text, such as the name of an MLflow experiment.

    >>> folder_name("base against COVIDMT"), folder_name("../.."), folder_name("..")
    ('base_against_COVIDMT', '_..', '_')
    """
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:200] or "_"
