"""What sends a spool to the tracking store: a thread while the run lives, `sync` what is left afterwards."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from covidmt.tracking.spool import Spool, SpoolInUse
from covidmt.tracking.store import Store

log = logging.getLogger(__name__)

ENDED = ("FINISHED", "FAILED", "KILLED", "SCHEDULED")  # statuses with which a run says that it has left


class Sender(threading.Thread):
    """Sends a spool's events as they come, and waits longer and longer while the store is away.

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
        """Send until `stop`."""
        client = self.spool.store.client
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
                        "The tracking store %s does not take events (%s). The run continues; they wait in %s.",
                        self.spool.store,
                        str(error).splitlines()[0][:200],
                        self.spool.folder,
                    )
                self.error, delay = error, min(2 * delay, self.longest)

            self._tried.set()
            self._wake.wait(delay)
            self._wake.clear()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was logged is sent.

        A store that takes what it is sent (a large checkpoint, say) has all the time that it needs.

        Args:
            timeout: Seconds that the store may be away.

        Returns:
            False: something is left.
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
        """End the thread; return False where it hangs in a request for longer than ``timeout`` seconds."""
        self._stopping.set()
        self._wake.set()
        self.join(timeout)
        return not self.is_alive()


@dataclass(frozen=True)
class Synced:
    """What `sync` did with one run.

    Attributes:
        run_id: MLflow run.
        store: Where it was sent; None: nowhere, since a live process writes it.
        sent: Events sent now.
        problem: Why something is left; None: everything has been sent.
    """

    run_id: str
    store: Store | None
    sent: int
    problem: str | None


def sync(root: Path, store: Store | None = None) -> list[Synced]:
    """Send what dead processes left below ``root`` (``mlruns/spool``); runs that live processes write are passed over.

    A run that ended without a word (killed, out of memory) is marked KILLED; if it is resumed, it is RUNNING again.

    Args:
        root: Folder of spools.
        store: Where to send it; None: each to the store that it was written for.
    """
    return [sync_run(folder, store) for folder in sorted(root.glob("[!.]*/")) if (folder / "uri").exists()]


def sync_run(folder: Path, store: Store | None = None) -> Synced:
    """Send what dead processes left of one run; see `sync`.

    Args:
        folder: Its spool.
        store: Where to send it; None: the store that it was written for.
    """
    try:
        spool = Spool(folder, store)
    except SpoolInUse:
        return Synced(folder.name, None, 0, "a live process writes it: nothing to do")

    sent, problem = 0, None
    try:
        client = spool.store.client

        # without a word of its end; another rank may have told the store before it took the writing one down
        if spool.last_status() not in ENDED and client.get_run(spool.run_id).info.status == "RUNNING":
            spool.append("status", status="KILLED", time=int(folder.joinpath("events.jsonl").stat().st_mtime * 1000))

        count = spool.send(client)
        while count:
            sent += count
            count = spool.send(client)
        if spool.rejected:
            problem = f"the store refuses events, see {spool.rejected}"
    except Exception as error:
        problem = str(error).splitlines()[0]

    spool.close()
    return Synced(folder.name, spool.store, sent, problem)
