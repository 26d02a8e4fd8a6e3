"""The file of a run's events: append-only, whole lines, readable also when its name is gone."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

from covidmt.tracking.delivery import BATCH_POINTS, Event

# how a write fails where the folder's file system is gone
GONE = (errno.EIO, errno.ENODEV, errno.ENOTCONN, errno.ENXIO, errno.EROFS, errno.ESTALE, errno.EBADF)


class EventFile:
    """``events.jsonl``: one JSON object a line, one ``write`` a line: once logged, an event outlives the process.

    Args:
        path: The file; made where it does not exist. A line that a dead machine left half written is cut off.

    Attributes:
        path: As given.
        size: Its bytes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     events = EventFile(Path(folder) / "events.jsonl")
        ...     events.append({"op": "tags", "values": {"sweep": "a"}})
        ...     events.path.unlink()
        ...     print(events.problem is None, list(events.read()))
        ...     events.close()
        False [{'op': 'tags', 'values': {'sweep': 'a'}}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.touch(0o600)
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
        self._file = path.open("a+b", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size

    @property
    def problem(self) -> str | None:
        """Why the file is no longer where its path leads, in words; None: it is there, or that cannot be told."""
        try:
            same = os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except OSError as error:
            if error.errno is None:  # a signal's handler leaves from here
                raise
            return str(error) if error.errno in (errno.ENOENT, errno.ENOTDIR, *GONE) else None
        return None if same else "another file is in the place of its events"

    def append(self, event: Event) -> None:
        """Write an event at the end; no fsync.

        Raises:
            OSError: The disk is full, or its file system is gone; nothing is written then.
        """
        line = json.dumps(event).encode() + b"\n"
        descriptor = self._file.fileno()
        before = os.fstat(descriptor).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except BaseException:  # the disk is full, or a signal's handler leaves from here: no half line
            if os.fstat(descriptor).st_size != before + len(line):
                os.ftruncate(descriptor, before)
            raise
        finally:
            self.size = os.fstat(descriptor).st_size

    def read(self, begin: int = 0) -> Iterator[Event]:
        """Yield the events from a place in the file on."""
        yield from map(json.loads, self._read_bytes(begin, self.size).splitlines())

    def read_batch(self, begin: int) -> tuple[list[Event], int]:
        """Return the event at a place, with the metrics events that follow it if it is one, and where they end."""
        events, points, end = list[Event](), 0, begin
        with open(self._file.fileno(), "rb", closefd=False) as file:
            file.seek(end)
            while end < self.size:
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

    def read_all(self) -> bytes | None:
        """Return the whole file; None: it cannot be read any more, since its file system is gone."""
        try:
            size = os.fstat(self._file.fileno()).st_size
            content = self._read_bytes(0, size)
        except OSError:
            return None
        return content if len(content) == size else None

    def sync(self) -> None:
        """Have everything on the disk, also if the power fails."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_bytes(self, begin: int, end: int) -> bytes:
        parts = []
        while begin < end:
            part = os.pread(self._file.fileno(), end - begin, begin)
            if not part:
                break
            parts.append(part)
            begin += len(part)
        return b"".join(parts)
