"""Image files that are equal byte for byte: the same picture under two names, mostly unknown to its owner."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from hashlib import blake2b
from itertools import chain

import pandas as pd

from datamodules.reading.many_files import ask_files
from datamodules.sources.files import abbreviate
from experiments.errors import UserError

_PART = 4096  # bytes


def find_equal_files(paths: Iterable[str]) -> list[list[str]]:
    """Group the files that are equal byte for byte.

    Only files of one size are opened, of these first a part is compared, and only then the whole.

    Args:
        paths: Any files; empty ones, and those that cannot be read, are equal to none.

    Returns:
        The groups of two files and more, sorted.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name, content in (("a", b"xx"), ("b", b"yy"), ("c", b"xx"), ("d", b"")):
        ...         _ = Path(folder, name).write_bytes(content)
        ...     groups = find_equal_files(map(str, Path(folder).iterdir()))
        ...     [[os.path.basename(path) for path in group] for group in groups]
        [['a', 'c']]
    """
    keys: dict[str, tuple[Hashable, ...]] = dict.fromkeys(paths, ())
    for key in (_size, _digest_part, _digest):
        values = ask_files(key, keys)
        keys = {path: (*keys[path], value) for path, value in zip(keys, values, strict=True) if value}
        times = Counter(keys.values())
        keys = {path: known for path, known in keys.items() if times[known] > 1}

    groups: dict[tuple[Hashable, ...], list[str]] = defaultdict(list)
    for path, known in keys.items():
        groups[known].append(path)
    return sorted(sorted(group) for group in groups.values())


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _digest_part(path: str) -> bytes:
    """Return a part from the middle: headers are alike."""
    return _read(path, os.path.getsize(path) // 2, _PART)


def _digest(path: str) -> bytes:
    return blake2b(_read(path, 0, -1), digest_size=16).digest()


def _read(path: str, start: int, length: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            return file.read(length)
    except OSError:
        return b""


def join_patients(tables: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], str | None]:
    """Make one patient of those that equal files belong to, so that no split comes between them.

    Args:
        tables: Source -> sample table.

    Returns:
        The tables with new patients, and a sentence about it; None: there was nothing to join.
    """
    images = pd.concat([table[["image", "patient"]] for table in tables.values()])
    groups = find_equal_files(images["image"])

    # who is one person with whom, also by way of a third
    person = {str(patient): str(patient) for patient in images["patient"]}

    def first(patient: str) -> str:
        while person[patient] != patient:
            patient = person[patient]
        return patient

    owners = images.groupby("image")["patient"].agg(set)
    for group in groups:
        names = sorted({first(str(patient)) for path in group for patient in owners[path]})
        person.update(dict.fromkeys(names, names[0]))

    joined = sum(first(patient) != patient for patient in person)
    if not joined:
        return tables, None
    tables = {
        name: table.assign(patient=[first(str(patient)) for patient in table["patient"]])
        for name, table in tables.items()
    }
    files = sum(map(len, groups))
    return tables, (
        f"{files} image files are equal to another one: data.duplicates=join made {len(person)} patients {joined} fewer"
    )


def refuse_duplicates(tables: dict[str, pd.DataFrame]) -> None:
    """Refuse files that are equal and lie in different splits.

    Args:
        tables: Source -> sample table with final splits.

    Raises:
        UserError: Naming them.
    """
    rows = pd.concat([table[["image", "split"]] for table in tables.values()])
    groups = find_equal_files(rows["image"])
    splits = rows[rows["image"].isin(list(chain(*groups)))].groupby("image")["split"].agg(set)
    crossing = [group for group in groups if len(set().union(*(splits[path] for path in group))) > 1]
    if crossing:
        names = abbreviate([abbreviate(group, joint=" = ") for group in crossing], 2)
        raise UserError(
            f"data.duplicates: {len(crossing)} images lie in two splits under several names: {names}; remove one of "
            "each, or set data.duplicates=join: equal files are one patient then"
        )
