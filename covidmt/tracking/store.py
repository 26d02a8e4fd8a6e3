"""The MLflow tracking store: where it is, made ready once for all processes; an error at once where it is unavailable.

The default store is ``mlruns/mlflow.db`` in the folder that the command is started in, artifacts in
``mlruns/artifacts``; ``Tracking.uri`` wins over the environment's ``MLFLOW_TRACKING_URI``, which wins over the default.
MLflow takes seconds to import, so every import of it is inside a function.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import shlex
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from covidmt.tracking.environment import set_mlflow_defaults
from experiments.errors import UserError, first_line
from experiments.paths import absolute, folder_name
from experiments.schema import Tracking
from experiments.secrets import hide_in_url, hide_secrets

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
NETWORK_FILE_SYSTEM = re.compile(
    r"(fuse\.)?(9p|afs|beegfs|ceph|cifs|davfs|fhgfs|glusterfs|gpfs|lustre|nfs4?|orangefs|panfs|pvfs2|s3fs|smb\w+)|"
    r"fuse\.sshfs|wekafs"
)


CREDENTIALS = (
    "it asks who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as its "
    "keeper gave them to you"
)


_FILES: dict[Path, list[tuple[int, int]]] = {}  # the files that this process has met at a database's path


class StoreAway(UserError):
    """The tracking server does not answer."""


class StoreGone(UserError):
    """The database is not where it was any more, while connections to it live."""


@dataclass(frozen=True, repr=False)
class Store:
    """One tracking store. As text it shows no password.

    Args:
        uri: Tracking URI with absolute paths, maybe with a password in it (`Store.of` makes it from the settings).

    Example:
        >>> from covidmt.tracking.store import Store
        >>> store = Store("postgresql://me:secret@db/runs")
        >>> print(store)
        postgresql://me:***@db/runs
        >>> store
        Store('postgresql://me:***@db/runs')
        >>> Store("sqlite:////data/mlruns/mlflow.db").database
        PosixPath('/data/mlruns/mlflow.db')
    """

    uri: str

    def __post_init__(self) -> None:
        set_mlflow_defaults()

    @classmethod
    def of(cls, tracking: Tracking) -> Store:
        """Return the store that the settings mean; every relative path in its URI is made absolute.

        Raises:
            UserError: A file store (MLflow 3.13 and later refuse it), an in-memory database, an unknown scheme, or a
                folder whose name means something else in a URI.
        """
        uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db"
        setting = "tracking.uri" if tracking.uri else "MLFLOW_TRACKING_URI"
        return cls(_absolute(uri, setting))

    def __str__(self) -> str:
        return hide_in_url(self.uri)

    def __repr__(self) -> str:
        return f"Store({str(self)!r})"

    @property
    def database(self) -> Path | None:
        """The sqlite file; None for a server."""
        return sqlite_path(self.uri)

    @property
    def identity(self) -> tuple[int, int] | None:
        """What tells a sqlite file from another in its place; None: there is no file, or the store is a server."""
        try:
            state = self.database.stat() if self.database else None
        except OSError:
            return None
        return (state.st_dev, state.st_ino) if state else None

    @property
    def is_server(self) -> bool:
        """Whether an MLflow server, which has a page of its own, answers at the URI."""
        return self.uri.startswith(("http", "databricks"))

    @property
    def client(self) -> MlflowClient:
        """A new MLflow client; the connections behind it are shared.

        MLflow keeps a process's connections by URI, also to a database file that has been deleted: a new file in its
        place gets another spelling of its path.

        Raises:
            UserError: A database that is locked or damaged, or of another MLflow.
        """
        from mlflow.tracking import MlflowClient

        uri, path, identity = self.uri, self.database, self.identity
        if path is not None and identity is not None:
            before = _FILES.setdefault(path, [])
            if identity not in before:
                before.append(identity)
            spelling = f"{path.parent}{'/.' * before.index(identity)}/{path.name}"
            uri = self.uri.replace(str(path), spelling, 1)
        logging.getLogger("mlflow.store.db.utils").addFilter(_is_not_raised)
        with self.explaining():
            return MlflowClient(tracking_uri=uri)

    def prepare(self) -> None:
        """Make the store ready for any number of processes, or raise within seconds.

        MLflow creates a new sqlite database table by table, and processes that meet on it fail. Here one process, under
        a file lock, builds it under another name and moves it in place: a database that exists is complete.

        Raises:
            StoreAway: The server, of MLflow or of a database, does not answer.
            UserError: The database file cannot be made, or a database server's driver is not installed.
        """
        path = self.database
        if path is None:
            if self.uri.startswith("http"):
                _check_server(self)
            elif not self.is_server:
                _check_database_server(self)
            return

        kind = network_file_system(path)
        if kind:
            log.warning(
                "The tracking store %s is a sqlite file on a network file system (%s), whose locks are not safe with "
                "several machines: use a folder on a local disk, or an MLflow server (tracking.uri=http://...).",
                path,
                kind,
            )
        if path.exists():
            _check_database(path)
            return

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(path.name + ".lock")):  # freed when its holder is killed
                if not path.exists():
                    _create_database(path)
        except OSError as error:
            raise UserError(
                f"tracking store {path} cannot be made: {error}: set tracking.uri to a writable place"
            ) from error

    def lifecycle(self, run_id: str) -> str | None:
        """Return ``active`` or ``deleted``; None: there is no run of this id. The store must answer."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def knows(self, run_id: str) -> bool:
        """Return whether there is a run of this id, deleted or not; the store must answer."""
        return self.lifecycle(run_id) is not None

    def require(self, message: str) -> None:
        """Refuse a sqlite store that does not exist, with the message; prepare any other.

        Raises:
            UserError: There is no database file, or see `prepare`.
        """
        if self.database is not None and not self.database.is_file():
            raise UserError(message)
        self.prepare()

    def open_experiment(self, name: str) -> str:
        """Return the id of an MLflow experiment; create it where it does not exist yet.

        Any number of processes may ask at once.

        Raises:
            UserError: The experiment has been deleted, or the store cannot be used.
        """
        from mlflow.exceptions import MlflowException

        name = hide_secrets(name)
        client, path = self.client, self.database
        location = str(path.parent / "artifacts" / folder_name(name)) if path else None
        with self.explaining():
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                try:
                    return client.create_experiment(name, artifact_location=location)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    experiment = client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"tracking.experiment: {name!r} has been deleted in {self}: restore it "
                "(mlflow experiments restore) or choose another name"
            )
        return experiment.experiment_id

    def search_runs(self, experiments: list[str], condition: str) -> Iterator[Run]:
        """Yield the runs of some experiments that meet a condition (MLflow's filter string), page by page."""
        token = None
        while True:
            page = self.client.search_runs(experiments, condition, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def children(self, run_id: str, experiment_id: str) -> Iterator[Run]:
        """Yield the runs under a parent run, such as a sweep's trials."""
        return self.search_runs([experiment_id], f"tags.mlflow.parentRunId = {json.dumps(run_id)}")

    @contextmanager
    def explaining(self) -> Generator[None]:
        """Turn errors of MLflow and its database in the block into a sentence for a person.

        Raises:
            UserError: There was one.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DBAPIError

        try:
            yield
        except (MlflowException, DBAPIError) as error:
            raise self.explain(error) from error

    def explain(self, error: Exception) -> UserError:
        """Return what a person should read when the store refuses."""
        if isinstance(error, UserError):
            return error
        hint = ""
        if "out-of-date database schema" in str(error):
            hint = f": back the database up, then run `mlflow db upgrade {self}`"
        elif re.search(r"\b(401|403)\b|[Uu]nauthori[sz]ed|PERMISSION_DENIED|UNAUTHENTICATED", str(error)):
            hint = f": {CREDENTIALS}"
        elif self.database and re.search(r"malformed|disk I/O error|not a database", str(error)):
            hint = f": the file is damaged; {_way_out(self.database)}"
        elif self.database and "locked" in str(error):
            hint = ": another program holds the database; end it, or wait for it, then give the same command again"
        elif self.uri.startswith("http"):
            hint = ": see the server's log"
        reason = re.sub(r" failed with exception .*Caused by (.*)\)$", r" failed: \1", first_line(error))
        return UserError(f"tracking store {self}: {hide_secrets(reason)}{hint}")


def sqlite_path(uri: str) -> Path | None:
    """Return the database file of a sqlite URI; None for any other."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def author() -> dict[str, str]:
    """Return the tags that MLflow's own clients give a new run."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "covidmt", "mlflow.source.type": "LOCAL"}


def network_file_system(path: Path, mounts: Iterable[tuple[str, str]] | None = None) -> str | None:
    """Return the kind of network file system that a path lies on; None on a local disk.

    Args:
        path: A file or folder, which need not exist.
        mounts: (mount point, file system type) pairs; None: this machine's.

    Example:
        >>> from pathlib import Path
        >>> network_file_system(Path("/data/runs"), [("/", "ext4"), ("/data", "nfs4")])
        'nfs4'
    """
    if mounts is None:
        import psutil

        mounts = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    parents = {str(folder) for folder in (path.resolve(), *path.resolve().parents)}
    # A later mount on the same point hides the earlier one.
    best = max(enumerate(mounts), key=lambda item: (item[1][0] in parents, len(item[1][0]), item[0]), default=None)
    if best is None or best[1][0] not in parents:
        return None
    return best[1][1] if NETWORK_FILE_SYSTEM.fullmatch(best[1][1]) else None


def _absolute(uri: str, setting: str) -> str:
    """Return the URI with an absolute path; refuse what MLflow cannot use, naming the setting that it came from."""
    scheme = uri.partition("://")[0].partition("+")[0]
    if scheme == "databricks" or (scheme in SCHEMES and "://" in uri):
        if scheme != "sqlite":
            return uri
        path, _, query = uri.partition("://")[2].removeprefix("/").partition("?")
        if path and path != ":memory:":
            return f"sqlite:///{_require_plain(absolute(path))}" + (f"?{query}" if query else "")
        raise UserError(f"{setting}: {uri!r} is a database in memory: name a file, such as sqlite:///mlruns/mlflow.db")

    if scheme == "file" or "://" not in uri:
        raise UserError(
            f"{setting}: {uri!r} is a file store, which MLflow no longer takes: "
            f"use a database file, such as sqlite:///{uri.removeprefix('file:').removeprefix('//')}/mlflow.db"
        )
    raise UserError(f"{setting}: {uri!r} has an unknown scheme: use one of {', '.join(SCHEMES)}")


def _require_plain(path: Path) -> Path:
    """Refuse a path that a URI reads as another: MLflow would log to another folder without a word."""
    found = re.search(r"\?|%[0-9A-Fa-f]{2}", str(path))
    if found:
        raise UserError(
            f"{path}: the tracking store cannot lie below a folder with {found[0]!r} in its name, which means "
            "something else in a URI: rename the folder, or work in another, or name a place elsewhere by tracking.uri "
            "or MLFLOW_TRACKING_URI"
        )
    return path


def _is_not_raised(record: logging.LogRecord) -> bool:
    """Return False for an error that MLflow logs with its traceback and raises as well: who catches it explains it."""
    return record.exc_info is None


def _create_database(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import OperationalError

    mlflow_log = logging.getLogger("mlflow.store.db.utils")
    level = mlflow_log.level
    mlflow_log.setLevel(logging.WARNING)  # it would announce every table

    try:
        with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as folder:
            building = Path(folder) / path.name
            SqlAlchemyStore(f"sqlite:///{building}", str(path.parent / "artifacts")).engine.dispose()
            building.rename(path)
    except OperationalError as error:  # such as a full disk
        raise OSError(str(error.orig)) from error
    finally:
        mlflow_log.setLevel(level)


def _check_database(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY):
            return  # MLflow waits its turn, and takes back what a killed process had half written
        raise UserError(
            f"tracking store {path} cannot be read as a sqlite database ({error}): {_way_out(path)}"
        ) from error


def _way_out(path: Path) -> str:
    """Return what to do about a damaged database."""
    recover = f"sqlite3 {shlex.quote(str(path))} .recover | sqlite3 NEW"
    return (
        f"restore it from a copy, or save what can be read ({recover}) and put that in its place, or set tracking.uri "
        "to another file; what runs have not sent waits in mlruns/spool, and `covidmt sync` sends it then"
    )


def _check_database_server(store: Store) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, DBAPIError

    try:
        engine = create_engine(store.uri)
        engine.connect().close()
        engine.dispose()
    except DBAPIError as error:
        raise StoreAway(
            f"tracking store {store} does not answer ({first_line(error.orig)}): start it, or "
            "put tracking.uri or MLFLOW_TRACKING_URI right"
        ) from error
    except (ImportError, ArgumentError) as error:
        raise UserError(
            f"tracking store {store}: its database driver cannot be used ({error}): install it "
            "(`pip install covidmt[postgresql]` has that of postgresql+psycopg2://...), or name an MLflow server"
        ) from error


def _check_server(store: Store) -> None:
    import requests

    try:
        # A server that is not there refuses at once; one whose jobs all start together may take its time.
        status = requests.get(store.uri.rstrip("/") + "/health", timeout=(5, 60)).status_code
    except requests.RequestException as error:
        raise StoreAway(
            f"tracking server {store} does not answer: start it, put tracking.uri or "
            f"MLFLOW_TRACKING_URI right, or leave both out to use the project's own store ({type(error).__name__})"
        ) from error
    if status in (401, 403):
        raise UserError(f"tracking server {store} refuses the request (it answers {status}): {CREDENTIALS}")
    if status >= 500:
        raise UserError(
            f"tracking server {store} is unavailable (it answers {status}): see its log, or leave tracking.uri "
            "and MLFLOW_TRACKING_URI out to use the project's own store"
        )
