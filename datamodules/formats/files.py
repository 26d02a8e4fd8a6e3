"""Reading a file that anybody may have named: regular files alone, and none larger than any picture."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from experiments.errors import UserError
from experiments.names import printable

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_regular(path: str | Path, most: int | None = None) -> bytes:
    """Read a regular file, or a link to one; a pipe or a device is not opened, so that nothing waits for it.

    Args:
        path: The file.
        most: How many bytes it may have; None: any number.

    Raises:
        UserError: It is missing, no regular file, or larger.
        OSError: It cannot be read.

    Example:
        >>> read_regular("/dev/null")
        Traceback (most recent call last):
        experiments.errors.UserError: /dev/null: is a device, no image file; take it out of the list
    """
    name = printable(str(path))
    try:
        _require_regular(name, os.stat(path))
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            _require_regular(name, status)  # it may have been replaced meanwhile
            if most is not None and status.st_size > most:
                raise UserError(
                    f"{name}: has {status.st_size / 1e6:,.0f} MB, more than a picture within data.max_megapixels; "
                    "take it out of the list"
                )
            return file.read()
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such image file") from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _require_regular(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UserError(f"{name}: is {kind}, no image file; take it out of the list")
