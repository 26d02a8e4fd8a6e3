"""Places in a cache's file of pixels that no image needs any more go back to the disk, as holes: no image moves."""

from __future__ import annotations

import ctypes
import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np

from datamodules.images.cache_index import CacheIndex

KEEP_SIZE, PUNCH_HOLE = 1, 2  # of Linux's fallocate, which Python does not have


class Hold:
    """A cache in use: its places are not given back as long as this object lives, here or in a forked process.

    Args:
        pixels: The file of pixels, which need not exist.
    """

    def __init__(self, pixels: Path) -> None:
        try:
            descriptor = os.open(pixels, os.O_RDONLY)
        except FileNotFoundError:
            return
        weakref.finalize(self, os.close, descriptor)
        with suppress(OSError):  # a file system without locks: nothing is given back there
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def is_in_use(pixels: Path) -> bool:
    """Return whether a process reads a file of pixels, or the file system cannot tell."""
    with pixels.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def drop_removed(index: CacheIndex) -> CacheIndex:
    """Return the index without files that have been removed.

    Where a file's folder is not there either, as of a disk that is not mounted, its entry stays.

    Args:
        index: Of the cache.
    """
    folders: dict[str, bool] = {}
    keep = np.ones(len(index.entries), bool)
    for i, path in enumerate(map(os.fsdecode, index.entries["path"])):
        if not os.path.exists(path):
            folder = os.path.dirname(path)
            keep[i] = not folders.setdefault(folder, os.path.isdir(folder))
    return CacheIndex(index.entries[keep])


def give_back(pixels: Path, stride: int, used: np.ndarray) -> int:
    """Return the disk's room of the rows that are not used; the file keeps its length.

    Args:
        pixels: The file.
        stride: Bytes from one row to the next.
        used: Rows that are in use.

    Returns:
        Bytes that the disk has got back; 0 too where another process reads the file, or the file system cannot do it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     pixels = Path(folder) / "films.pixels"
        ...     size = pixels.write_bytes(bytes(range(256)) * 48)  # three rows
        ...     freed = give_back(pixels, 4096, np.array([0, 2]))
        ...     freed in (0, 4096), pixels.read_bytes()[8192:] == bytes(range(256)) * 16
        (True, True)
    """
    with pixels.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody reads it
            return 0

        # runs of free rows
        before = os.fstat(file.fileno())
        free = np.ones(before.st_size // stride + 2, bool)
        free[used + 1] = free[0] = free[-1] = False
        edges = np.flatnonzero(np.diff(free.astype(np.int8)))
        for first, end in edges.reshape(-1, 2):
            if not _punch(file.fileno(), int(first) * stride, int(end - first) * stride):
                break
        os.fsync(file.fileno())
        return 512 * (before.st_blocks - os.fstat(file.fileno()).st_blocks)


def _punch(descriptor: int, begin: int, length: int) -> bool:
    """Make a hole of a part of a file; return whether that is possible here."""
    fallocate = getattr(ctypes.CDLL(None), "fallocate", None)  # not on macOS
    if fallocate is None:
        return False
    mode = ctypes.c_int(KEEP_SIZE | PUNCH_HOLE)
    return fallocate(ctypes.c_int(descriptor), mode, ctypes.c_int64(begin), ctypes.c_int64(length)) == 0
