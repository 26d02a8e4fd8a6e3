"""The index of an image cache: which file's image lies where among the pixels, and how a changed file is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.errors import UserError
from experiments.files import replace_file


class Entry(NamedTuple):
    """A file and its image.

    Attributes:
        path: The file, absolute.
        bytes: The file's size and, in nanoseconds, its time of change: by these another file in its place is noticed.
        changed: See ``bytes``.
        digest: sha256 of the file, in hexadecimal digits.
        row: The image's place among the pixels.
        check: The checksum of its pixels.
        height: Of the image in the file.
        width: Of the image in the file.
    """

    path: bytes
    bytes: int
    changed: int
    digest: bytes
    row: int
    check: int
    height: int
    width: int


class Stamp(NamedTuple):
    """A file's size in bytes and time of change in nanoseconds."""

    bytes: int
    changed: int


class CacheIndex:
    """Entries by path; never changed, but replaced.

    Args:
        entries: (n,) of the fields of :class:`Entry`, sorted by path, each path once; None: no entries.

    Example:
        >>> first, second = Entry(b"/b.png", 9, 1, b"", 0, 5, 2, 3), Entry(b"/a.png", 9, 1, b"", 1, 6, 2, 3)
        >>> index = CacheIndex().updated([first, second])
        >>> places, known = index.find(np.array([b"/a.png", b"/c.png"]))
        >>> known.tolist(), index.entries["row"][places[known]].tolist()
        ([True, False], [1])
    """

    def __init__(self, entries: np.ndarray | None = None) -> None:
        self.entries = np.empty(0, _dtype(1)) if entries is None else entries

    @classmethod
    def read(cls, path: Path) -> CacheIndex:
        """Read an index file; where there is none, return an index without entries.

        Raises:
            UserError: The file is no index.
        """
        try:
            entries = np.load(path, allow_pickle=False)
            if entries.dtype.names != _dtype(1).names:
                raise ValueError("other fields")
        except FileNotFoundError:
            return cls()
        except (ValueError, EOFError) as error:
            raise UserError(f"{path}: is not a cache's index ({error}); delete it and its .pixels") from error
        return cls(entries)

    def write(self, path: Path) -> None:
        """Replace an index file by this one, whole or not at all."""
        with replace_file(path, sync=True) as new, new.open("wb") as file:
            np.save(file, self.entries, allow_pickle=False)

    @property
    def rows(self) -> int:
        """The rows that the file of pixels must have."""
        return int(self.entries["row"].max()) + 1 if len(self.entries) else 0

    def find(self, paths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the paths' places among the entries, (n,) int64, and which of them are there, (n,) bool."""
        if not len(self.entries):
            return np.zeros(len(paths), np.int64), np.zeros(len(paths), bool)
        places = np.minimum(np.searchsorted(self.entries["path"], paths), len(self.entries) - 1)
        return places, self.entries["path"][places] == paths

    def missing(self, paths: np.ndarray) -> np.ndarray:
        """Return the indices of the paths that have no entry, or one of another state of the file."""
        places, known = self.find(paths)
        entries = self.entries[places[known]]
        stamps = [read_stamp(os.fsdecode(path)) or (-1, -1) for path in paths[known]]
        before = np.stack([entries["bytes"], entries["changed"]], axis=1)
        known[known] = (np.array(stamps, np.int64).reshape(-1, 2) == before).all(axis=1)
        return np.flatnonzero(~known)

    def updated(self, new: Sequence[Entry]) -> CacheIndex:
        """Return this index with new entries, which take the place of those of the same path."""
        if not new:
            return self
        added = np.array(list(new), _dtype(max(len(entry.path) for entry in new)))
        entries = np.concatenate([added, self.entries])
        return CacheIndex(entries[np.unique(entries["path"], return_index=True)[1]])  # of two the first, which is new


def read_stamp(path: str) -> Stamp | None:
    """Return the state of a file by which a change is noticed; None: the file cannot be looked at."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return Stamp(state.st_size, state.st_mtime_ns)


def absolute_paths(images: Iterable[str | bytes]) -> np.ndarray:
    """Return the paths as (n,) bytes, absolute."""
    paths = [os.fsencode(path) for path in images]
    return np.array([path if path.startswith(b"/") else os.path.abspath(path) for path in paths], np.bytes_)


def _dtype(length: int) -> np.dtype:
    return np.dtype(
        [
            ("path", f"S{length}"),
            ("bytes", "i8"),
            ("changed", "i8"),
            ("digest", "S64"),
            ("row", "i8"),
            ("check", "u4"),
            ("height", "i4"),
            ("width", "i4"),
        ]
    )
