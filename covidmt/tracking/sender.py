"""What sends a spool to the tracking store: a thread while the run lives, `sync` what is left afterwards.

`sync` also settles the runs of which only one side knows: made in the store and never begun (`end_orphans`), or logged
here and gone from the store (`make_anew`).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from covidmt.tracking.folders import RunFolder, spools_dir
from covidmt.tracking.spool import Spool
from covidmt.tracking.spool.place import SpoolInUse
from covidmt.tracking.store import Store, StoreGone
from experiments.errors import UserError
from experiments.files import is_there

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

START = "covidmt.start"  # the tag by which a run is found whose maker was killed before it had noted the run's id
DEFAULT_EXPERIMENT = "covidmt"
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
        client, delay = None, self.interval
        while not self._stopping.is_set():
            try:
                client = client or self.spool.store.client
                while not self._stopping.is_set() and self.spool.send(client):
                    pass
                self.error, delay = None, self.interval
                self.spool.touch()

            except Exception as error:
                if self.error is None:
                    log.warning(
                        "%s. The run continues; what it logs waits in %s.",
                        self.spool.store.explain(error),
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
        while self.is_alive() and self.spool.pending and away < timeout and not isinstance(self.error, StoreGone):
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
        made_anew_of: The run that the store no longer knew, in whose place this one was made.
    """

    run_id: str
    store: Store | None
    sent: int
    problem: str | None
    made_anew_of: str | None = None


def sync(root: Path, store: Store | None = None) -> list[Synced]:
    """Send what dead processes left below ``root`` (``mlruns/spool``); runs that live processes write are passed over.

    A run that ended without a word (killed, out of memory) is marked KILLED; if it is resumed, it is RUNNING again. One
    that its store no longer knows, as after a database was deleted, is made anew.

    Args:
        root: Folder of spools.
        store: Where to send it; None: each to the store that it was written for.
    """
    end_orphans(root)
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

    sent, problem, old = 0, None, None
    try:
        database = spool.store.database
        if database and not database.parent.is_dir():
            raise UserError(f"{database.parent} is not there: mount it, or make it for a new store")
        spool.store.prepare()
        client = spool.store.client
        if not spool.store.knows(spool.run_id):
            old = make_anew(spool, client)

        # without a word of its end; another rank may have told the store before it took the writing one down
        if spool.last_status() not in ENDED and client.get_run(spool.run_id).info.status == "RUNNING":
            spool.append("status", status="KILLED", time=int(spool.last_change * 1000))

        count = spool.send(client)
        while count:
            sent += count
            count = spool.send(client)
        if spool.rejected:
            problem = f"the store refuses events, see {spool.rejected}"
        elif spool.lost:
            problem = f"lost: {', '.join(spool.lost)}"
    except Exception as error:
        problem = str(spool.store.explain(error))

    spool.close()
    return Synced(spool.run_id, spool.store, sent, problem, old)


@contextmanager
def noted_start(store: Store, spools: Path) -> Generator[Mapping[str, str]]:
    """Note that a run is being made, until the block ends: a process killed inside leaves a note of it.

    Args:
        store: Where the run is made.
        spools: Folder of all runs' spools.

    Yields:
        Tags that the new run must have.
    """
    token = uuid4().hex
    path, new = spools / f"new-{token}.json", spools / f".new-{token}"
    spools.mkdir(parents=True, exist_ok=True)
    with open(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # private: the URI
        json.dump({"uri": store.uri}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel releases it when this process dies
        new.rename(path)
        yield {START: token}
        if store.is_server:  # it may have made a run whose answer was lost on the way, and then another
            _end_started(store, token, spools)
        path.unlink(missing_ok=True)


def end_orphans(spools: Path) -> list[str]:
    """End the runs whose makers were killed before they had noted them; return their ids.

    Where the store does not answer, the note stays for the next time.

    Args:
        spools: Folder of all runs' spools.
    """
    ended: list[str] = []
    for path in sorted(spools.glob("new-*.json")):
        try:
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ended += _end_started(Store(json.load(file)["uri"]), path.stem.partition("-")[2], spools)
                path.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):  # its maker lives, or has just noted the run
            continue
        except Exception as error:
            log.warning("Whether a killed process left a run in the store cannot be told (%s): %s", path, error)
    return ended


def _end_started(store: Store, token: str, spools: Path) -> list[str]:
    """End the run with this token, unless it has a spool, which tells of it."""
    store.prepare()
    client, ended = store.client, []
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for run in store.search_runs(experiments, f"tags.`{START}` = {json.dumps(token)}"):
        run_id = run.info.run_id
        if run.info.status == "RUNNING" and not is_there(RunFolder(run_id, spools.parent).spool):
            client.set_terminated(run_id, "KILLED")
            log.warning("Run %s was made and never begun, as its maker did not hear of it: it is KILLED now.", run_id)
            ended.append(run_id)
    return ended


def make_anew(spool: Spool, client: MlflowClient) -> str:
    """Make a run that the store no longer knows anew from its spool, under a new id; nothing is sent yet.

    Its checkpoints go with it. Artifacts that had been sent, also by earlier starts of the run, are taken from where
    the old run had them, if that is a folder here; those that are gone are in `Spool.lost`.

    Args:
        spool: Of the old run, open; of the new one afterwards.
        client: Of its store.

    Returns:
        The old run's id.
    """
    old, origin = RunFolder(spool.run_id, spool.folder.parents[1]), spool.origin
    experiment = spool.store.open_experiment(origin.experiment if origin else DEFAULT_EXPERIMENT)
    begin = spool.begin_time
    run = client.create_run(
        experiment,
        start_time=int(begin * 1000) if begin else None,
        run_name=origin.run_name if origin else None,
        tags={**(origin.tags if origin else {}), "covidmt.made_anew_of": old.run_id},
    )
    new = RunFolder(run.info.run_id, spool.folder.parents[1])
    if origin and origin.artifacts:
        _take_artifacts(spool, Path(origin.artifacts))
    spool.send_anew(new.run_id)
    if old.checkpoints.is_dir() and not new.checkpoints.exists():
        old.checkpoints.rename(new.checkpoints)
    return old.run_id


def _take_artifacts(spool: Spool, folder: Path) -> None:
    """Put files that had been sent back into the spool, also those that earlier starts of the run sent."""
    if folder.parts[-2:] != (spool.run_id, "artifacts"):  # no run's own folder
        return
    known = []
    for event in spool.artifacts():
        target = spool.folder / "files" / event["file"]
        source = folder / (event["path"] or "") / target.name
        known.append(source)
        if not target.exists() and source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)

    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.is_relative_to(source) for source in known):
            place = path.relative_to(folder).parent
            file = spool.add_file(path.name, partial(shutil.copyfile, path))
            spool.append("artifact", file=file, path=None if place == Path() else place.as_posix())


def describe_losses(spool: Spool, error: Exception | None) -> list[str]:
    """Return what the store does not have of a run, and what to do, in sentences; nothing where it is only away.

    Args:
        spool: The run's.
        error: What the store last answered with; None: it took what it was sent.
    """
    problems, vanished = [], f"run {spool.run_id}: its spool vanished while it was logged"
    if spool.lost:
        rest = "all else is in the store or waits to be sent"
        problems.append(f"{vanished}, and with it: {', '.join(spool.lost)}; {rest}")
    if isinstance(error, StoreGone):
        problems.append(
            f"{error}: what this start of the run logged waits in {spool.folder}; `covidmt sync` makes the run anew"
        )
    elif spool.pending and spool.folder.parent != spools_dir():
        problems.append(
            f"{vanished}, and the store {spool.store} has not taken all of it yet: send it by "
            f"`covidmt sync --from {spool.folder.parent}`"
        )
    return problems
