"""One run's spool: what is logged goes in, is sent, and is taken along when its folder vanishes."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from covidmt.tracking.delivery import Event, Point, deliver, parse_picture, refused
from covidmt.tracking.spool.events import GONE, EventFile
from covidmt.tracking.spool.files import SpoolFiles
from covidmt.tracking.spool.place import SpoolInUse, SpoolLock, bring_home, emergency_folder, new_place
from covidmt.tracking.store import Store, StoreGone
from experiments.files import replace_file

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

ATTEMPTS = 20  # to write a file into a folder that is being removed


class Origin(NamedTuple):
    """What a run was made with, beside what it logs.

    Attributes:
        experiment: MLflow experiment, by name.
        run_name: The run's name.
        tags: Its tags.
        artifacts: Where its artifacts go.
    """

    experiment: str
    run_name: str | None
    tags: dict[str, str]
    artifacts: str | None = None


class Spool:
    """One run's events on disk, open in this process alone.

    Args:
        folder: ``<spool root>/<run id>``; made where it does not exist. A dead process's events in it stay in order.
        store: Where to send them; None: the store that the spool was written for.
        lock: Its lock, held already; None: it is taken now.

    Attributes:
        folder: As given, until it vanishes.
        store: Where the events are sent.
        lost: What could not be saved when a folder vanished, in words.

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

    def __init__(self, folder: Path, store: Store | None = None, lock: SpoolLock | None = None):
        self.folder = folder
        self.lost: list[str] = []
        self._mutex = threading.RLock()
        self._losses = 0  # folders whose events could not be taken along
        self._lock = lock or SpoolLock(folder)

        bring_home(folder)

        # private: the URI may hold a password
        if store is not None:
            _replace_text(folder / "uri", store.uri)
        self.store = Store((folder / "uri").read_text())

        self._files = SpoolFiles(folder / "files")
        self._events = EventFile(folder / "events.jsonl")
        self._queue_rejected()
        sent = folder / "sent"
        self._sent = min(int(sent.read_text() or 0), self._events.size) if sent.exists() else 0
        self._database = self.store.identity
        origin = folder / "origin.json"
        self._origin = Origin(**json.loads(origin.read_text())) if origin.exists() else None

    @property
    def run_id(self) -> str:
        """The MLflow run that the events belong to."""
        return self.folder.name

    @property
    def pending(self) -> int:
        """Bytes of events that the store has not confirmed."""
        return self._events.size - self._sent

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
                (``datasets``: see `covidmt.tracking.provenance.dataset_input`), ``model`` (``file``, a folder, and
                ``entry``: see `covidmt.tracking.models.logged.ModelEntry`), ``status`` (``status``, ``time`` in ms).
            **payload: The event's fields.

        Raises:
            OSError: The disk is full; nothing is written then.
        """
        event = {"op": op, **payload}
        with self._mutex:
            self._require_place()
            try:
                self._events.append(event)
            except OSError as error:
                if error.errno not in GONE:
                    raise
                self._move(str(error))
                self._events.append(event)

    def add_file(self, name: str, write: Callable[[Path], object]) -> str:
        """Make a file or folder in the spool; return what an ``artifact`` event calls it.

        It is kept from now on, as an event is, and in the spool for good when the event is there.

        Args:
            name: Its name among the artifacts.
            write: Makes it at the path that it is given; called again where the spool vanishes meanwhile.

        Raises:
            OSError: The disk is full; nothing is left then.
        """
        attempts = ATTEMPTS
        while True:
            with self._mutex:
                self._require_place()
                try:
                    return self._files.add(name, write)
                except OSError as error:
                    attempts -= 1
                    if error.errno not in (errno.ENOENT, *GONE) or attempts == 0:
                        raise
            time.sleep(0.05)  # whoever removes the folder file by file comes to its events

    @property
    def origin(self) -> Origin | None:
        """What the run was made with; None: that was not written down."""
        return self._origin

    @origin.setter
    def origin(self, origin: Origin) -> None:
        _replace_text(self.folder / "origin.json", json.dumps(origin._asdict()))
        self._origin = origin

    @property
    def begin_time(self) -> float | None:
        """When the oldest event here that has a time was logged, seconds since 1970; None: there is none."""
        for event in self._events.read():
            stamps = [event["time"]] if "time" in event else [point[2] for point in event.get("points", ())]
            if stamps:
                return min(stamps) / 1000
        return None

    @property
    def last_change(self) -> float:
        """When the newest event was written, seconds since 1970."""
        return self._events.path.stat().st_mtime

    def logged(self) -> set[Point]:
        """Return the metrics and pictures of this folder, sent or not."""
        points: set[Point] = set()
        for event in self._events.read():
            if event["op"] == "metrics":
                points |= {Point(key, step, timestamp) for key, _, timestamp, step in event["points"]}
            elif event["op"] == "artifact":
                picture = parse_picture(event["file"])
                points |= {picture} if picture else set()
        return points

    def artifacts(self) -> list[Event]:
        """Return the artifact events, sent or not."""
        return [event for event in self._events.read() if event["op"] == "artifact"]

    def last_status(self) -> str | None:
        """Return the run's status as last written here; None: there is none."""
        statuses = [event["status"] for event in self._events.read() if event["op"] == "status"]
        return statuses[-1] if statuses else None

    def send(self, client: MlflowClient) -> int:
        """Send the next batch.

        Args:
            client: Of the store.

        Returns:
            How many events the batch held; 0: nothing is left.

        Raises:
            Exception: What the client raises when the store cannot take anything now; the batch stays.
        """
        with self._mutex:
            self._require_place()
            (events, end), losses = self._events.read_batch(self._sent), self._losses
            if not events:
                return 0
            self._events.sync()
            for event in _with_files(events):  # of a folder that is being removed, and whose events are still there
                self._files.restore(event["file"])
        self._require_store()

        # all at once; if the store can never take one of them, each alone
        try:
            deliver(client, self.run_id, self.folder, events)
        except Exception as error:
            if not refused(client, self.run_id, error):
                raise
            for event in events:
                self._deliver_or_reject(client, event)
        self._require_store()
        with self._mutex:
            self._require_place()
            if self._losses == losses:  # else the events that are here now are others
                self._confirm(end)
            for event in _with_files(events):  # what the store has confirmed is no longer needed here
                if not event.get("rejected"):
                    self._files.remove(event["file"])
        return len(events)

    def touch(self) -> None:
        """Give a sign of life to machines that do not see this one's locks."""
        with self._mutex:
            self._require_place()
            self._lock.touch()

    def send_anew(self, run_id: str) -> None:
        """Have everything in this folder sent once more, to another run, whose name the folder gets."""
        self._confirm(0)
        folder = self.folder.with_name(run_id)
        self.folder.rename(folder)
        self._settle(folder, self._lock)

    def close(self) -> None:
        """Release the spool; remove it where everything has been sent.

        A preempted run's stays: where the store is away when the run is resumed, it alone tells what has been logged.
        """
        with self._mutex:
            self._require_place()
            self._events.sync()
            if not self.pending and not self.rejected and self.last_status() != "SCHEDULED":
                # at once: a process that opens the same run meets all of it or nothing
                done = self.folder.with_name(f".{self.run_id}.{uuid.uuid4().hex}")
                with suppress(FileNotFoundError):  # it vanishes right now
                    self.folder.rename(done)
                    shutil.rmtree(done, ignore_errors=True)
            else:
                self._files.restore_all()
            self._events.close()
            self._files.release()
            self._lock.release()

    # a folder or a store that vanishes

    def _require_place(self) -> None:
        """Move to another folder where this one is no longer where its path leads."""
        problem = self._events.problem
        if problem is not None:
            self._move(problem)

    def _move(self, problem: str) -> None:
        """Take up a folder in the same place, or below the system's folder for temporary files.

        Raises:
            OSError: There is neither.
        """
        old, content = self.folder, self._events.read_all()
        for folder in dict.fromkeys((old, emergency_folder(self.run_id))):
            try:
                with new_place(folder) as lock:
                    self._fill(folder, lock, content)
                break
            except (OSError, SpoolInUse) as error:
                log.warning("Run %s: %s cannot be used: %s", self.run_id, folder, error)
        else:
            raise OSError(errno.EIO, f"run {self.run_id}: its spool has vanished ({problem})", str(old))

        # what the old folder had besides the events
        self._files.restore_all()
        for event in _with_files(self._events.read(self._sent)):
            if not self._files.path(event["file"]).exists():
                self._note_lost(event)
        log.warning("The spool of run %s has vanished (%s). It is written on in %s.", self.run_id, problem, folder)

    def _fill(self, folder: Path, lock: SpoolLock, content: bytes | None) -> None:
        """Write this spool's state into a new folder, and take that up."""
        unsent = self.pending
        _replace_text(folder / "uri", self.store.uri)
        if self._origin:
            _replace_text(folder / "origin.json", json.dumps(self._origin._asdict()))
        _replace_text(folder / "events.jsonl", (content or b"").decode())
        self._lock.release()
        self._settle(folder, lock)
        self._losses += content is None
        if content is None and unsent:
            self.lost.append(f"{unsent} bytes of metrics and other events that had not been sent")
        self._confirm(0 if content is None else self._sent)

    def _settle(self, folder: Path, lock: SpoolLock) -> None:
        with suppress(OSError):  # of a file system that is gone
            self._events.close()
        self.folder, self._files.folder = folder, folder / "files"
        self._events = EventFile(folder / "events.jsonl")
        self._lock, lock.folder = lock, folder

    def _confirm(self, sent: int) -> None:
        _replace_text(self.folder / "sent", str(sent))
        self._sent = sent

    def _note_lost(self, event: Event) -> None:
        text = f"{event['file'].rpartition('/')[2]} (in {event.get('path') or 'the artifacts'})"
        if text not in self.lost:
            self.lost.append(text)

    def _require_store(self) -> None:
        """Refuse a sqlite store that is not the file any more that it was when this spool was opened.

        Raises:
            StoreGone: It was removed or replaced; all that this folder holds counts as not sent.
        """
        if self._database is None:  # it was made after this spool was opened
            self._database = self.store.identity
        if self.store.identity != self._database:
            self._confirm(0)
            raise StoreGone(f"tracking store {self.store} was removed or replaced while run {self.run_id} was logged")

    def _deliver_or_reject(self, client: MlflowClient, event: Event) -> None:
        with self._mutex:
            for artifact in _with_files([event]):
                self._files.restore(artifact["file"])
        try:
            deliver(client, self.run_id, self.folder, [event])
        except Exception as error:
            if not refused(client, self.run_id, error):
                raise
            if isinstance(error, FileNotFoundError):
                self._note_lost(event)
                return
            with (self.folder / "rejected.jsonl").open("a") as file:
                file.write(json.dumps(event) + "\n")
            event["rejected"] = True
            log.warning("The tracking store refuses %s of run %s: %s", event["op"], self.run_id, error)

    def _queue_rejected(self) -> None:
        """Queue rejected events once more."""
        if self.rejected:
            for line in self.rejected.read_bytes().splitlines():
                self._events.append(json.loads(line))
            self.rejected.unlink()


def _with_files(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if "file" in event]


def _replace_text(path: Path, text: str) -> None:
    with replace_file(path, private=True, sync=True) as new:
        new.write_text(text)
