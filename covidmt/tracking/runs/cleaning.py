"""``covidmt clean``: what below ``mlruns`` nobody needs any more, and what is not in use of it goes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covidmt.tracking.folders import UNTRACKED, RunFolder, find_leftovers, remove_path
from covidmt.tracking.spool.place import SpoolInUse, SpoolLock
from covidmt.tracking.store import Store
from datamodules.images.cache import ImageCache

CHECKPOINTS, STATE, LEFTOVER, CACHE = (
    "checkpoints of a deleted run", "optimizer state of a finished run", "leftover of a killed process",
    "removed images in a cache",
)  # fmt: skip


@dataclass(frozen=True)
class Removable:
    """Something that could go.

    Attributes:
        kind: What it is.
        path: A file or folder; of a cache its file of pixels, which shrinks.
        size: Bytes that the disk would get back; files that have another name elsewhere count nothing.
        run_id: The run that it is of, whose lock is held while it goes.
    """

    kind: str
    path: Path
    size: int
    run_id: str | None = None


@dataclass(frozen=True)
class Findings:
    """What could go, and what is left.

    Attributes:
        removable: What could go.
        in_use: Runs that a live process writes.
        unknown: Runs that the store does not know: perhaps another store does.
    """

    removable: list[Removable]
    in_use: list[str]
    unknown: list[str]


def find_removable(root: Path, store: Store | None, caches: Sequence[Path] = ()) -> Findings:
    """Find what could go; nothing is changed.

    - Checkpoints of runs that have been deleted in the store. A run that the store does not know is left alone.
    - ``last.ckpt`` of finished runs that have their best checkpoint.
    - What killed processes have left half made.
    - Room of removed images in caches of decoded images.

    Args:
        root: The ``mlruns`` folder.
        store: Where runs may have been deleted; None: there is none.
        caches: Folders of ``data.cache``.

    Raises:
        UserError: The store or a cache cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     run = RunFolder("4f0c", Path(folder))
        ...     run.checkpoints.mkdir(parents=True)
        ...     sizes = run.best.write_bytes(b"best"), run.last.write_bytes(b"and the optimizer")
        ...     [(item.kind, item.size) for item in find_removable(Path(folder), None).removable]
        [('optimizer state of a finished run', 17)]
    """
    findings = Findings([], [], [])
    folder = root / "checkpoints"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.name.startswith("."):
            _add_run(findings, RunFolder(path.name, root), store)

    leftovers = [Removable(LEFTOVER, path, _size(path)) for path in find_leftovers(root)]
    spare = [Removable(CACHE, cache.pixels, cache.spare()) for place in caches for cache in ImageCache.all_in(place)]
    findings.removable.extend([*leftovers, *(item for item in spare if item.size)])
    return findings


def remove(item: Removable, root: Path) -> int:
    """Remove one of the findings, unless somebody uses it by now.

    Args:
        item: What to remove.
        root: The ``mlruns`` folder.

    Returns:
        Bytes that the disk got back.
    """
    if item.kind == CACHE:
        return sum(cache.compact() for cache in ImageCache.all_in(item.path.parent) if cache.pixels == item.path)
    if item.run_id is None:
        remove_path(item.path)
        return item.size

    run = RunFolder(item.run_id, root)
    with _locked(run) as is_ours:
        if not is_ours or (item.kind == STATE and not run.is_finished):  # it may be resumed meanwhile
            return 0
        remove_path(item.path)
    return item.size


def _add_run(findings: Findings, run: RunFolder, store: Store | None) -> None:
    """Add what could go of a run, or that it is in use."""
    with _locked(run) as is_ours:
        if not is_ours:
            findings.in_use.append(run.run_id)
            return
        is_deleted = _is_deleted(run.run_id, store)
        if is_deleted:
            findings.removable.append(Removable(CHECKPOINTS, run.checkpoints, _size(run.checkpoints), run.run_id))
        elif run.is_finished and run.last.exists():
            findings.removable.append(Removable(STATE, run.last, _size(run.last), run.run_id))
        if is_deleted is None and store is not None:
            findings.unknown.append(run.run_id)


@contextmanager
def _locked(run: RunFolder) -> Generator[bool]:
    """Hold the lock of a run inside; yield whether that is possible: no live process writes it."""
    try:
        lock = SpoolLock(run.spool)
    except SpoolInUse:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _is_deleted(run_id: str, store: Store | None) -> bool | None:
    """Return whether a run has been deleted in the store; None: it is not known there."""
    if run_id.startswith(UNTRACKED):
        return False
    if store is None:
        return None
    with store.explaining():
        stage = store.lifecycle(run_id)
    return None if stage is None else stage == "deleted"


def store_or_none(store: Store) -> Store | None:
    """Return the store, made ready; None where it is a database that is not there.

    Raises:
        UserError: It does not answer.
    """
    if store.database is not None and not store.database.is_file():
        return None
    store.prepare()
    return store


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder, that removing it gives back."""
    files = [path] if not path.is_dir() or path.is_symlink() else [file for file in path.rglob("*") if file.is_file()]
    states = [file.lstat() for file in files if file.is_symlink() or file.exists()]
    return sum(state.st_size for state in states if state.st_nlink == 1)
