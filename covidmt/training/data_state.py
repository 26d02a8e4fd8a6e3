"""What a training's data were: saved with its checkpoint, so that it does not resume on other data unnoticed.

Of every source: its sample table, and of its images and masks the sizes and what they hold: by three parts of every
file, and in full where the image cache has all their sha256 (`datamodules.images.cache_index`), then and now. Of very
many images a sample is read, and the time of change tells of the others. A copy of a data set, all of whose files are
new, counts as the same if its contents are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

import numpy as np
import pandas as pd

from covidmt.tracking.provenance import dataset_digest
from datamodules.images.cache import ImageCache
from datamodules.images.cache_index import CacheIndex, read_stamp
from datamodules.images.mask_folders import MaskFolders
from datamodules.reading.many_files import ask_files
from experiments.errors import UserError
from experiments.schema import Data

SAMPLE = 4096  # files of a source whose contents are read
PART = 4096  # bytes that are read at a file's begin, middle and end

Saved = dict[str, dict[str, str | int]]  # in a checkpoint: source -> fields of a `FilesState`


@dataclass(frozen=True)
class FilesState:
    """The state of a source, or of a folder of masks.

    Attributes:
        table: Digest of the rows; of masks of their names.
        files: How many files there are.
        sizes: Digest of the files' sizes.
        kind: Of which files parts were read: ``parts``: all, ``sample``: some.
        contents: Digest of what was read.
        newest: Latest time of change, ns since 1970.
        full: Digest of the whole contents; empty: the cache does not know all of them.
    """

    table: str
    files: int
    sizes: str
    kind: str
    contents: str
    newest: int
    full: str = ""


def read_data_state(data: Data, tables: Mapping[str, pd.DataFrame]) -> dict[str, FilesState]:
    """Return the state of all sources of a training, and of its mask folders.

    Args:
        data: Its settings.
        tables: Source name -> sample table.

    Raises:
        UserError: A file cannot be read.
    """
    states = {}
    for name, table in tables.items():
        index = CacheIndex()
        if data.cache_folder is not None:
            index = CacheIndex.read(ImageCache(data.cache_folder, name, data.image_size, data.crop_top).index)
        paths = [str(path) for column in ("image", "received") if column in table for path in table[column]]
        states[name] = read_files_state(dataset_digest(table, data.sources[name].folder), sorted(paths), index)

    for folder in data.masks.mask_folders:
        masks = [str(path) for path in MaskFolders([folder], data.masks.suffix).files()]
        names = _digest(os.path.relpath(path, folder) for path in masks)
        states[f"lung masks of {folder.name}"] = read_files_state(names, masks, CacheIndex())
    return states


def read_files_state(table: str, paths: Sequence[str], index: CacheIndex) -> FilesState:
    """Return the state of these files.

    Args:
        table: Digest of what names them.
        paths: In an order that does not depend on where they lie.
        index: Of a cache that may know their contents.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "film.png"
        ...     size = path.write_bytes(b"film")
        ...     state = read_files_state("", [str(path)], CacheIndex())
        >>> state.files, state.kind
        (1, 'parts')
    """
    known = _known_contents(paths, index)
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(SAMPLE, len(paths)), dtype=int))]
    stamps, contents = ask_files(_stamp, paths), ask_files(_read_parts, chosen)
    return FilesState(
        table=table,
        files=len(paths),
        sizes=_digest(str(size) for size, _ in stamps),
        kind="parts" if len(paths) <= SAMPLE else "sample",
        contents=_digest(contents),
        newest=max((changed for _, changed in stamps), default=0),
        full=_digest(known) if known is not None else "",
    )


def to_saved(states: Mapping[str, FilesState]) -> Saved:
    """Return the states as a checkpoint holds them.

    Example:
        >>> to_saved({"covidx": FilesState("0f", 3, "1f", "parts", "2f", 0)})["covidx"]["files"]
        3
    """
    return {name: asdict(state) for name, state in states.items()}


def describe_changes(saved: Saved, now: Mapping[str, FilesState], paths: Mapping[str, Iterable[str]]) -> list[str]:
    """Return in words which sources differ from what a checkpoint was trained with, and how.

    Args:
        saved: Of the checkpoint.
        now: Of this start.
        paths: Source -> its files, of which some may have changed where only a sample was read.
    """
    before = {name: FilesState(**fields) for name, fields in saved.items()}  # ty: ignore[invalid-argument-type]
    changes = [f"{name}: is gone" for name in before if name not in now]
    changes += [f"{name}: was not there" for name in now if name not in before]
    for name in before.keys() & now.keys():
        change = _describe_change(before[name], now[name], paths.get(name, ()))
        changes += [f"{name}: {change}"] if change else []
    return sorted(changes)


def refuse_changed_data(
    saved: Saved | None, now: Mapping[str, FilesState], tables: Mapping[str, pd.DataFrame], run_id: str
) -> None:
    """Refuse to resume a run on other data than it was trained with.

    Args:
        saved: Of its checkpoint; None: that is of a covidmt that did not save it.
        now: Of this start.
        tables: Source name -> sample table.
        run_id: The run.

    Raises:
        UserError: Naming each source that differs.
    """
    if not saved:
        return
    paths = {name: map(str, table["image"]) for name, table in tables.items()}
    changes = describe_changes(saved, now, paths)
    if changes:
        raise UserError(
            f"run {run_id} was begun with other data: {'; '.join(changes)}. Put them back, or start a new run with "
            "--resume never, or resume on the changed data with --resume-changed-data"
        )


def _describe_change(before: FilesState, now: FilesState, paths: Iterable[str]) -> str | None:
    if before.files != now.files:
        return f"{before.files} files then, {now.files} now"
    if before.sizes != now.sizes:
        return "files of other sizes"
    if before.table != now.table:
        return "other labels, boxes, patients, splits or names"
    if before.contents != now.contents or (before.full and now.full and before.full != now.full):
        return "files of other contents"
    if now.kind == "sample" and not (before.full and now.full):
        newer = sum(_stamp(path)[1] > before.newest for path in paths)
        if 0 < newer < now.files:
            return f"{newer} files were written since"
    return None


def _known_contents(paths: Sequence[str], index: CacheIndex) -> list[str] | None:
    """Return the files' sha256 where the cache knows all of them as they are now."""
    encoded = np.array([os.fsencode(path) for path in paths], np.bytes_)
    if not len(index.entries) or not len(encoded) or len(index.missing(encoded)):
        return None
    places, _ = index.find(encoded)
    return [digest.decode() for digest in index.entries["digest"][places]]


def _stamp(path: str) -> tuple[int, int]:
    stamp = read_stamp(path)
    if stamp is None:
        raise UserError(f"{path}: cannot be read; restore it or remove it from the data set")
    return stamp


def _read_parts(path: str) -> str:
    """Return a digest of a file's begin, middle and end."""
    digest = sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in sorted({0, max(0, size // 2 - PART // 2), max(0, size - PART)}):
            file.seek(start)
            digest.update(file.read(PART))
    return digest.hexdigest()


def _digest(texts: Iterable[str]) -> str:
    return sha256(json.dumps(list(texts)).encode()).hexdigest()[:32]
