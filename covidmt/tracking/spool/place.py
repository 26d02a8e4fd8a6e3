"""Where a run's spool is, and who has it: one process at a time resumes, writes or sends a run."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from experiments.errors import UserError
from experiments.files import is_there, replace_file

log = logging.getLogger(__name__)

GRACE = 15.0  # seconds for which a killed process's loader workers may still hold its lock
HEARTBEAT = 120.0  # seconds without a sign of life after which a spool of another machine counts as left


class SpoolInUse(Exception):
    """Another live process writes or sends this run's events."""


class SpoolLock:
    """The lock, held from the beginning until `release` or the end of the process.

    Args:
        folder: ``<spool root>/<run id>``; made where it does not exist.
        wait: Seconds to wait for another process to release it.

    Attributes:
        waited: Whether another process held it at first: what was read before may have changed meanwhile.

    Raises:
        SpoolInUse: Another process holds it.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from covidmt.tracking.spool.place import SpoolInUse, SpoolLock
        >>> with TemporaryDirectory() as folder:
        ...     lock = SpoolLock(Path(folder) / "4f0c")
        ...     try:
        ...         SpoolLock(Path(folder) / "4f0c")
        ...     except SpoolInUse:
        ...         lock.release()
        ...     SpoolLock(Path(folder) / "4f0c").waited
        False
    """

    def __init__(self, folder: Path, wait: float = 0.0) -> None:
        self.folder = folder
        self.waited = False
        end = time.monotonic() + wait
        while True:
            descriptor = _open(folder / "lock")
            if _try_lock(descriptor, folder / "lock") and not _is_written_elsewhere(folder):
                break
            os.close(descriptor)
            self.waited = True
            if time.monotonic() >= end:
                raise SpoolInUse(folder.name)
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, socket.gethostname().encode(), 0)
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, folder: Path) -> SpoolLock:
        """Return the lock of a run that is to be resumed, whoever holds it now: wait for their end.

        Raises:
            UserError: They do not end.
        """
        try:
            return cls(folder, wait=2)
        except SpoolInUse:
            log.warning("Run %s is being written by another process: waiting for its end.", folder.name)
        try:
            # A job that was moved to another machine waits until the killed one counts as dead.
            return cls(folder, wait=HEARTBEAT + 30)
        except SpoolInUse as error:
            raise UserError(
                f"run {folder.name} is being written by another process: resume it after its end"
            ) from error

    @classmethod
    def take_if_left(cls, folder: Path) -> SpoolLock | None:
        """Return the lock of a run that no live process writes; None: one does.

        Where its last writer was on another machine, that takes up to two minutes to find out.
        """
        lock = folder / "lock"
        here = not lock.exists() or lock.read_text() in ("", socket.gethostname())
        try:
            return cls(folder, GRACE if here else HEARTBEAT + 30)
        except SpoolInUse:
            return None

    def touch(self) -> None:
        """Give a sign of life to machines that do not see this one's locks."""
        os.utime(self.folder / "lock")

    def release(self) -> None:
        """Let others have it; a folder with nothing else in it is removed."""
        if self._descriptor is None:
            return
        lock, descriptor, self._descriptor = self.folder / "lock", self._descriptor, None
        with suppress(OSError):  # the file system may be gone, or whoever waits has made the next lock
            if [file.name for file in self.folder.glob("*")] == ["lock"] and _is_file(descriptor, lock):
                lock.unlink()
                self.folder.rmdir()
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
        with suppress(OSError):
            os.close(descriptor)


@contextmanager
def new_place(folder: Path) -> Generator[SpoolLock]:
    """Lock a folder that has no events yet; where the block fails, others may have it.

    Raises:
        SpoolInUse: It has events, or another process holds it.
    """
    lock = SpoolLock(folder)
    try:
        if (folder / "events.jsonl").exists():
            raise SpoolInUse(f"{folder.name}: there are events already")
        yield lock
    except BaseException:
        lock.release()
        raise


def _open(path: Path) -> int:
    """Open a lock file; its holder may remove the folder between any two steps."""
    attempts = 100
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except (FileNotFoundError, FileExistsError):
            attempts -= 1
            if attempts == 0:
                raise


def _try_lock(descriptor: int, path: Path) -> bool:
    supported = True  # whether the file system knows locks
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        supported = False
    if not _is_file(descriptor, path):
        return False  # its holder has sent everything and moved the folder away

    # Some cluster file systems lock within a machine only, or not at all: there the last sign of life decides.
    host = os.pread(descriptor, 256, 0).decode()
    if not host or (supported and host == socket.gethostname()):
        return True
    signs = [file.stat().st_mtime for file in (path, path.with_name("events.jsonl")) if file.exists()]
    return time.time() - max(signs) > HEARTBEAT


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def emergency_folder(run_id: str) -> Path:
    """Return where a run's spool is written on when its own folder has vanished: below the system's for such files."""
    return Path(tempfile.gettempdir()) / f"covidmt-spool-{os.getuid()}" / run_id


def _is_written_elsewhere(folder: Path) -> bool:
    """Return whether a live process has moved a run to its `emergency_folder`, as while a mount was away."""
    away = emergency_folder(folder.name)
    if away == folder or not (away / "events.jsonl").exists():
        return False
    try:
        SpoolLock(away).release()
    except SpoolInUse:
        return True
    return False


def bring_home(folder: Path) -> None:
    """Take what was written to the `emergency_folder` of a run back into its spool, whose lock the caller holds.

    Args:
        folder: ``<spool root>/<run id>``.
    """
    away = emergency_folder(folder.name)
    if away == folder or not (away / "events.jsonl").exists() or away.stat().st_uid != os.getuid():
        return
    try:
        lock = SpoolLock(away)
    except SpoolInUse:
        return

    # the events: it begins with what is here, unless that could not be read any more
    ours, theirs = ((place / "events.jsonl") for place in (folder, away))
    before = ours.read_bytes() if is_there(ours) else b""
    content = theirs.read_bytes()
    sent = [int((place / "sent").read_text()) if is_there(place / "sent") else 0 for place in (folder, away)]
    if content.startswith(before):
        sent_bytes = max(sent)
    else:
        content, sent_bytes = before + content, sent[0] if sent[0] < len(before) else len(before) + sent[1]
    for name, data in (("events.jsonl", content), ("sent", str(sent_bytes).encode())):
        with replace_file(folder / name, private=True, sync=True) as new:
            new.write_bytes(data)

    # all other files
    shutil.copytree(away, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("events.jsonl", "sent", "lock"))
    shutil.rmtree(away)
    lock.release()
