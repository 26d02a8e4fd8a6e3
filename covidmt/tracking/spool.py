"""What a run logs goes to disk first; a thread sends it to the tracking store, and what is left is sent by `sync`.

``mlruns/spool/<run id>/`` holds one run's events:

- ``events.jsonl``: one JSON object a line, append-only, one ``write`` a line: once logged, an event outlives the
  process. The sending thread calls ``fsync`` before it sends, so that a power cut costs what was logged since the last
  round (a second, or the time that the store has been away), and never makes the store know more than the disk.
- ``sent``: how many bytes of it the store has confirmed, replaced atomically after every batch.
- ``files/``: copies of pictures and artifacts, each removed once it is sent.
- ``rejected.jsonl``: events that the store can never take as they are; `sync` tries them once more.
- ``lock``: held by the process that writes or sends; the kernel lets go of it when that process dies.

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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidmt.tracking.store import make_client, without_password

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

Event = dict[str, Any]
BATCH_POINTS = 1000  # MLflow's limit of metrics a request
BATCH_PAIRS = 100  # MLflow's limit of parameters or tags a request
GRACE = 15.0  # seconds for which a killed process's loader workers may still hold its lock
HEARTBEAT = 120.0  # seconds without a sign of life after which a spool of another machine counts as left


class SpoolInUse(Exception):
    """Another live process writes or sends this run's events."""


class Spool:
    """One run's events on disk, open in this process alone.

    Args:
        folder: ``<spool root>/<run id>``; made where it is not there. A dead process's events in it stay in order.
        uri: Tracking URI to send to; None: the one that the spool was written for.
        wait: Seconds to wait for another process to let go of it.

    Raises:
        SpoolInUse: Another process did not.
    """

    def __init__(self, folder: Path, uri: str | None = None, wait: float = 0.0):
        self.folder = folder
        self._mutex = threading.Lock()
        self._lock = _acquire(folder, wait)
        if uri is not None:
            _replace(folder / "uri", uri)
        self.uri = (folder / "uri").read_text()
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
        """Writes an event; no network, no fsync.

        Args:
            op: ``metrics`` (``points``: [key, value, timestamp in ms, step] each), ``params`` or ``tags`` (``values``:
                name -> text), ``artifact`` (``file`` from `add_file`, ``path``: artifact folder or None), ``inputs``
                (``datasets``: see `covidmt.tracking.provenance.dataset_input`), ``status`` (``status``, ``time``
                in ms).
            **payload: The event's fields.
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
        """A place in the spool for a file of that name: its path, and what an ``artifact`` event calls it."""
        relative = f"{uuid.uuid4().hex}/{name}"
        path = self.folder / "files" / relative
        path.parent.mkdir(parents=True)
        return path, relative

    @property
    def begun(self) -> float | None:
        """When the oldest event here that has a time was logged, seconds since 1970; None: there is none."""
        with self._events.open("rb") as file:
            for event in map(json.loads, file):
                if stamps := [event["time"]] if "time" in event else [point[2] for point in event.get("points", ())]:
                    return min(stamps) / 1000
        return None

    def logged(self) -> set[tuple[str, int, int]]:
        """(key, step, timestamp) of the metrics and pictures of this folder, sent or not."""
        found = set()
        with self._events.open("rb") as file:
            for event in map(json.loads, file):
                if event["op"] == "metrics":
                    found |= {(key, step, timestamp) for key, _, timestamp, step in event["points"]}
                elif event["op"] == "artifact" and (picture := parse_picture(event["file"])):
                    found.add(picture)
        return found

    def last_status(self) -> str | None:
        """The run's status as last written here."""
        with self._events.open("rb") as file:
            lines = [line for line in file if b'"op": "status"' in line]
        return json.loads(lines[-1])["status"] if lines else None

    def send(self, client: MlflowClient) -> int:
        """Sends the next batch.

        Returns:
            How many events it held; 0: nothing is left.

        Raises:
            Exception: What the client raises when the store cannot take anything now; the batch stays.
        """
        events, end = self._next_batch()
        if not events:
            return 0
        os.fsync(self._file.fileno())
        try:
            _deliver(client, self.run_id, self.folder, events)
        except Exception as error:
            if not _refused(client, self.run_id, error):
                raise
            for event in events:
                self._deliver_or_reject(client, event)
        _replace(self.folder / "sent", str(end))
        self._sent = end
        for event in events:
            if event["op"] == "artifact" and not event.get("rejected"):
                shutil.rmtree((self.folder / "files" / event["file"]).parent, ignore_errors=True)
        return len(events)

    def touch(self) -> None:
        """A sign of life for machines that do not see this one's locks."""
        os.utime(self.folder / "lock")

    def close(self) -> None:
        """Lets go of the spool; removes it where everything has been sent.

        A preempted run's stays: where the store is away when the run goes on, it alone tells what has been logged.
        """
        os.fsync(self._file.fileno())
        self._file.close()
        if not self.pending and not self.rejected and self.last_status() != "SCHEDULED":
            done = self.folder.with_name(f".{self.run_id}.{uuid.uuid4().hex}")
            self.folder.rename(done)  # at once: a process that opens the same run meets all of it or nothing
            shutil.rmtree(done, ignore_errors=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def _next_batch(self) -> tuple[list[Event], int]:
        """The next event, with the metrics events that follow it if it is one; and where they end."""
        events: list[Event] = []
        points, end = 0, self._sent
        with self._events.open("rb") as file:
            file.seek(end)
            while end < self._size and (line := file.readline()).endswith(b"\n"):
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
            _deliver(client, self.run_id, self.folder, [event])
        except Exception as error:
            if not _refused(client, self.run_id, error):
                raise
            with (self.folder / "rejected.jsonl").open("a") as file:
                file.write(json.dumps(event) + "\n")
            event["rejected"] = True
            log.warning("The tracking store refuses %s of run %s: %s", event["op"], self.run_id, error)

    def _mend(self) -> None:
        """Cuts a line that a dead machine left half written; queues rejected events once more."""
        if not self._events.exists():
            self._events.touch(0o600)
        content = self._events.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self._events, content.rfind(b"\n") + 1)
        if rejected := self.rejected:
            with self._events.open("ab") as file:
                file.write(rejected.read_bytes())
            rejected.unlink()


class Sender(threading.Thread):
    """Sends a spool's events as they come; waits longer and longer while the store is away.

    Args:
        spool: Open spool.
        interval: Seconds from one round to the next.
        longest: Longest wait between two tries.
    """

    def __init__(self, spool: Spool, interval: float = 1.0, longest: float = 60.0):
        super().__init__(name="mlflow-sender", daemon=True)
        self.spool = spool
        self.interval = interval
        self.longest = longest
        self.error: Exception | None = None
        self._wake = threading.Event()
        self._tried = threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        """The thread's loop."""
        client = make_client(self.spool.uri)
        delay = self.interval
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self.spool.send(client):
                    pass
                self.error, delay = None, self.interval
                self.spool.touch()
            except Exception as error:
                if self.error is None:
                    log.warning(
                        "The tracking store %s does not take events (%s). The run goes on; they wait in %s.",
                        without_password(self.spool.uri),
                        str(error).splitlines()[0][:200],
                        self.spool.folder,
                    )
                self.error, delay = error, min(2 * delay, self.longest)
            self._tried.set()
            self._wake.wait(delay)
            self._wake.clear()

    def flush(self, timeout: float) -> bool:
        """Waits until all that was logged is sent; False: the store was away for so many seconds, something is left.

        A store that takes what it is sent (a large checkpoint, say) has all the time that it needs.
        """
        away = 0.0
        while self.spool.pending and away < timeout:
            self._tried.clear()
            self._wake.set()
            tried = self._tried.wait(1.0)
            if self.error is not None:
                away += 1.0
                if tried:
                    time.sleep(1.0)  # not a try after the other
        return not self.spool.pending

    def stop(self, timeout: float = 2.0) -> bool:
        """Ends the thread; False: it hangs in a request."""
        self._stopping.set()
        self._wake.set()
        self.join(timeout)
        return not self.is_alive()


@dataclass(frozen=True)
class Synced:
    """What `sync` did with one run.

    Attributes:
        run_id: MLflow run.
        uri: Where it was sent, without password.
        sent: Events sent now.
        problem: Why something is left; None: everything has been sent.
    """

    run_id: str
    uri: str
    sent: int
    problem: str | None


def sync(root: Path, uri: str | None = None) -> list[Synced]:
    """Sends what dead processes left below ``root`` (``mlruns/spool``); runs that live processes write are passed over.

    A run that ended without a word (killed, out of memory) is marked KILLED; if it is resumed, it is RUNNING again.

    Args:
        root: Folder of spools.
        uri: Send there; None: each to the store that it was written for.
    """
    return [sync_run(folder, uri) for folder in sorted(root.glob("[!.]*/")) if (folder / "uri").exists()]


def parse_picture(path: str) -> tuple[str, int, int] | None:
    """(key, step, timestamp) of one of MLflow's picture files, by the small one, which is written last; else None."""
    name, *rest = Path(path).name.split("+")
    if len(rest) != 6 or rest[::2] != ["step", "timestamp", rest[4]] or rest[5] != "compressed.webp":
        return None
    return name, int(rest[1]), int(rest[3])


def in_use(folder: Path) -> bool:
    """Whether a live process writes this spool.

    Where its last writer was on another machine, that takes up to two minutes to find out.
    """
    if not (folder / "lock").exists():
        return False
    here = (folder / "lock").read_text() == socket.gethostname()
    try:
        os.close(_acquire(folder, GRACE if here else HEARTBEAT + 30))
    except SpoolInUse:
        return True
    return False


def sync_run(folder: Path, uri: str | None = None) -> Synced:
    """The same for one run's folder."""
    try:
        spool = Spool(folder, uri)
    except SpoolInUse:
        return Synced(folder.name, "", 0, "a live process writes it: nothing to do")
    sent, problem = 0, None
    try:
        client = make_client(spool.uri)
        if spool.last_status() not in ("FINISHED", "FAILED", "KILLED", "SCHEDULED") and _runs(client, spool.run_id):
            spool.append("status", status="KILLED", time=int(folder.joinpath("events.jsonl").stat().st_mtime * 1000))
        while count := spool.send(client):
            sent += count
        if spool.rejected:
            problem = f"the store refuses events, see {spool.rejected}"
    except Exception as error:
        problem = str(error).splitlines()[0]
    spool.close()
    return Synced(folder.name, without_password(spool.uri), sent, problem)


def _runs(client: MlflowClient, run_id: str) -> bool:
    """Whether nobody has said how the run ended: another rank may have, before it took the writing one down."""
    return client.get_run(run_id).info.status == "RUNNING"


def _deliver(client: MlflowClient, run_id: str, folder: Path, events: list[Event]) -> None:
    """Sends one event, or several of metrics."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    event = events[0]
    match event["op"]:
        case "metrics":
            client.log_batch(run_id, metrics=[Metric(*point) for event in events for point in event["points"]])
        case "params":
            client.log_batch(run_id, params=[Param(key, value) for key, value in event["values"].items()])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in event["values"].items()])
        case "artifact":
            client.log_artifact(run_id, str(folder / "files" / event["file"]), event["path"])
        case "inputs":
            client.log_inputs(
                run_id,
                [
                    DatasetInput(Dataset(**dataset["dataset"]), [InputTag(*tag) for tag in dataset["tags"].items()])
                    for dataset in event["datasets"]
                ],
            )
        case "status" if event["status"] in ("RUNNING", "SCHEDULED"):
            client.update_run(run_id, status=event["status"])
        case "status":
            client.set_terminated(run_id, event["status"], event["time"])


def _refused(client: MlflowClient, run_id: str, error: Exception) -> bool:
    """Whether the store will never take the event, as against being away; a deleted run can be restored."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, FileNotFoundError):
        return True
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return 400 <= error.response.status_code < 500 and error.response.status_code not in (401, 403, 404, 408, 429)
    if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
        return client.get_run(run_id).info.lifecycle_stage == "active"
    return False


def _replace(path: Path, content: str) -> None:
    """Writes the file whole or not at all, readable by its owner alone (a URI may hold a password)."""
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _acquire(folder: Path, wait: float) -> int:
    """Takes the folder's lock; returns its file descriptor."""
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
    seen = True  # whether the file system knows locks
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        seen = False
    try:
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            return False  # its holder has sent everything and moved the folder away
    except FileNotFoundError:
        return False
    # Some cluster file systems lock within a machine only, or not at all: there the last sign of life decides.
    host = os.pread(descriptor, 256, 0).decode()
    if not host or (seen and host == socket.gethostname()):
        return True
    signs = [file.stat().st_mtime for file in (path, path.with_name("events.jsonl")) if file.exists()]
    return time.time() - max(signs) > HEARTBEAT
