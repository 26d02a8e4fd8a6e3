"""What a run logs goes to disk first; a thread sends it to the tracking store, and what is left is sent by `sync`.

``mlruns/spool/<run id>/`` holds one run's events:

- ``events.jsonl``: one JSON object a line, append-only, one ``write`` a line: once logged, an event outlives the
  process. The sending thread calls ``fsync`` before it sends, so that a power cut costs what was logged since the last
  round (a second, or the time that the store has been away), and never makes the store know more than the disk.
- ``sent``: how many bytes of it the store has confirmed, replaced atomically after every batch.
- ``files/``: copies of pictures and artifacts, each removed once it is sent.
- ``rejected.jsonl``: events that the store can never take as they are; `sync` tries them once more.
- ``lock``: held by the process that writes or sends; the kernel releases it when that process dies.

An event may be sent twice (the store took it, and died before it said so), but counts once: a metric point carries its
own timestamp and MLflow's primary key is (run, key, step, timestamp, value); a file goes to the same place; tags,
parameters, inputs and status are set to the same value.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidmt.tracking.delivery import BATCH_POINTS, Event, Point, deliver, parse_picture, refused
from covidmt.tracking.store import Store
from experiments.files import replace_file

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

GRACE = 15.0  # seconds for which a killed process's loader workers may still hold its lock
HEARTBEAT = 120.0  # seconds without a sign of life after which a spool of another machine counts as left


class SpoolInUse(Exception):
    """Another live process writes or sends this run's events."""


class Spool:
    """One run's events on disk, open in this process alone.

    Args:
        folder: ``<spool root>/<run id>``; made where it does not exist. A dead process's events in it stay in order.
        store: Where to send them; None: the store that the spool was written for.
        wait: Seconds to wait for another process to release it.

    Attributes:
        folder: As given.
        store: Where the events are sent.

    Raises:
        SpoolInUse: Another process holds it.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from covidmt.tracking.spool import Spool
        >>> from covidmt.tracking.store import Store
        >>> with TemporaryDirectory() as folder:
        ...     spool = Spool(Path(folder) / "4f0c", Store("http://localhost:5000"))
        ...     spool.append("metrics", points=[["val/pi_score", 3.5, 1000, 0]])
        ...     print(spool.run_id, spool.logged(), spool.pending)
        ...     spool.close()
        4f0c {Point(key='val/pi_score', step=0, timestamp=1000)} 62
    """

    def __init__(self, folder: Path, store: Store | None = None, wait: float = 0.0):
        self.folder = folder
        self._mutex = threading.Lock()
        self._lock = _acquire(folder, wait)

        # private: the URI may hold a password
        if store is not None:
            _replace_text(folder / "uri", store.uri)
        self.store = Store((folder / "uri").read_text())

        self._events = folder / "events.jsonl"
        self._mend()
        self._file = self._events.open("ab", buffering=0)
        self._size = self._events.stat().st_size
        sent = folder / "sent"
        self._sent = min(int(sent.read_text() or 0), self._size) if sent.exists() else 0

    @property
    def run_id(self) -> str:
        """The MLflow run that the events belong to."""
        return self.folder.name

    @property
    def pending(self) -> int:
        """Bytes of events that the store has not confirmed."""
        return self._size - self._sent

    @property
    def rejected(self) -> Path | None:
        """The file of the events that the store refused, if there are any."""
        path = self.folder / "rejected.jsonl"
        return path if path.exists() else None

    def append(self, op: str, **payload: Any) -> None:
        """Write an event; no network, no fsync.

        Args:
            op: ``metrics`` (``points``: [key, value, timestamp in ms, step] each), ``params`` or ``tags`` (``values``:
                name -> text), ``artifact`` (``file`` from `add_file`, ``path``: artifact folder or None), ``inputs``
                (``datasets``: see `covidmt.tracking.provenance.dataset_input`), ``status`` (``status``, ``time``
                in ms).
            **payload: The event's fields.

        Raises:
            OSError: The disk is full; nothing is written then.
        """
        line = json.dumps({"op": op, **payload}).encode() + b"\n"
        with self._mutex:
            descriptor = self._file.fileno()
            before = os.fstat(descriptor).st_size
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._events))
            except BaseException:  # the disk is full, or a signal's handler leaves from here: no half line
                if os.fstat(descriptor).st_size != before + len(line):
                    os.ftruncate(descriptor, before)
                raise
            finally:
                self._size = os.fstat(descriptor).st_size

    def new_file(self, name: str) -> tuple[Path, str]:
        """Return a path in the spool for a file of that name, and what an ``artifact`` event calls it."""
        relative = f"{uuid.uuid4().hex}/{name}"
        path = self.folder / "files" / relative
        path.parent.mkdir(parents=True)
        return path, relative

    @property
    def begin_time(self) -> float | None:
        """When the oldest event here that has a time was logged, seconds since 1970; None: there is none."""
        for event in self._read_events():
            stamps = [event["time"]] if "time" in event else [point[2] for point in event.get("points", ())]
            if stamps:
                return min(stamps) / 1000
        return None

    def logged(self) -> set[Point]:
        """Return the metrics and pictures of this folder, sent or not."""
        points: set[Point] = set()
        for event in self._read_events():
            if event["op"] == "metrics":
                points |= {Point(key, step, timestamp) for key, _, timestamp, step in event["points"]}
            elif event["op"] == "artifact":
                picture = parse_picture(event["file"])
                points |= {picture} if picture else set()
        return points

    def last_status(self) -> str | None:
        """Return the run's status as last written here; None: there is none."""
        with self._events.open("rb") as file:
            lines = [line for line in file if b'"op": "status"' in line]
        return json.loads(lines[-1])["status"] if lines else None

    def send(self, client: MlflowClient) -> int:
        """Send the next batch.

        Args:
            client: Of the store.

        Returns:
            How many events the batch held; 0: nothing is left.

        Raises:
            Exception: What the client raises when the store cannot take anything now; the batch stays.
        """
        events, end = self._next_batch()
        if not events:
            return 0
        os.fsync(self._file.fileno())

        # all at once; if the store can never take one of them, each alone
        try:
            deliver(client, self.run_id, self.folder, events)
        except Exception as error:
            if not refused(client, self.run_id, error):
                raise
            for event in events:
                self._deliver_or_reject(client, event)
        _replace_text(self.folder / "sent", str(end))
        self._sent = end

        # what the store has confirmed is no longer needed here
        for event in events:
            if event["op"] == "artifact" and not event.get("rejected"):
                shutil.rmtree((self.folder / "files" / event["file"]).parent, ignore_errors=True)
        return len(events)

    def touch(self) -> None:
        """Give a sign of life to machines that do not see this one's locks."""
        os.utime(self.folder / "lock")

    def close(self) -> None:
        """Release the spool; remove it where everything has been sent.

        A preempted run's stays: where the store is away when the run is resumed, it alone tells what has been logged.
        """
        os.fsync(self._file.fileno())
        self._file.close()
        if not self.pending and not self.rejected and self.last_status() != "SCHEDULED":
            done = self.folder.with_name(f".{self.run_id}.{uuid.uuid4().hex}")
            self.folder.rename(done)  # at once: a process that opens the same run meets all of it or nothing
            shutil.rmtree(done, ignore_errors=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def _read_events(self) -> Iterator[Event]:
        with self._events.open("rb") as file:
            yield from map(json.loads, file)

    def _next_batch(self) -> tuple[list[Event], int]:
        """Return the next event, with the metrics events that follow it if it is one, and where they end."""
        events: list[Event] = []
        points, end = 0, self._sent
        with self._events.open("rb") as file:
            file.seek(end)
            while end < self._size:
                line = file.readline()
                if not line.endswith(b"\n"):
                    break
                event = json.loads(line)
                points += len(event.get("points", ()))
                if events and (event["op"] != "metrics" or points > BATCH_POINTS):
                    break
                events.append(event)
                end += len(line)
                if event["op"] != "metrics":
                    break
        return events, end

    def _deliver_or_reject(self, client: MlflowClient, event: Event) -> None:
        try:
            deliver(client, self.run_id, self.folder, [event])
        except Exception as error:
            if not refused(client, self.run_id, error):
                raise
            with (self.folder / "rejected.jsonl").open("a") as file:
                file.write(json.dumps(event) + "\n")
            event["rejected"] = True
            log.warning("The tracking store refuses %s of run %s: %s", event["op"], self.run_id, error)

    def _mend(self) -> None:
        """Cut a line that a dead machine left half written; queue rejected events once more."""
        if not self._events.exists():
            self._events.touch(0o600)
        content = self._events.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self._events, content.rfind(b"\n") + 1)
        if self.rejected:
            with self._events.open("ab") as file:
                file.write(self.rejected.read_bytes())
            self.rejected.unlink()


def _replace_text(path: Path, text: str) -> None:
    with replace_file(path, private=True, sync=True) as new:
        new.write_text(text)


def in_use(folder: Path) -> bool:
    """Return whether a live process writes this spool.

    Where its last writer was on another machine, that takes up to two minutes to find out.

    Args:
        folder: ``<spool root>/<run id>``, which need not exist.
    """
    if not (folder / "lock").exists():
        return False
    here = (folder / "lock").read_text() == socket.gethostname()
    try:
        os.close(_acquire(folder, GRACE if here else HEARTBEAT + 30))
    except SpoolInUse:
        return True
    return False


def _acquire(folder: Path, wait: float) -> int:
    """Take the folder's lock; return its file descriptor."""
    end = time.monotonic() + wait
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if _try_lock(descriptor, folder / "lock"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, socket.gethostname().encode(), 0)
            return descriptor
        os.close(descriptor)
        if time.monotonic() >= end:
            raise SpoolInUse(folder.name)
        time.sleep(0.1)


def _try_lock(descriptor: int, path: Path) -> bool:
    supported = True  # whether the file system knows locks
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        supported = False

    try:
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            return False  # its holder has sent everything and moved the folder away
    except FileNotFoundError:
        return False

    # Some cluster file systems lock within a machine only, or not at all: there the last sign of life decides.
    host = os.pread(descriptor, 256, 0).decode()
    if not host or (supported and host == socket.gethostname()):
        return True
    signs = [file.stat().st_mtime for file in (path, path.with_name("events.jsonl")) if file.exists()]
    return time.time() - max(signs) > HEARTBEAT
