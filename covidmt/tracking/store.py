"""The MLflow tracking store: where it is, made ready once for all processes, reachable or said at once.

The default store is ``mlruns/mlflow.db`` in the folder that the command is started in, artifacts in
``mlruns/artifacts``; ``Tracking.uri`` wins over the environment's ``MLFLOW_TRACKING_URI``, which wins over the default.
MLflow takes seconds to import, so every import of it is inside a function.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from experiments.errors import UserError
from experiments.paths import absolute
from experiments.schema import Tracking

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# Read by MLflow when it is imported or called.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own seven retries take about four minutes a call; the spool does the retrying.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}

log = logging.getLogger(__name__)

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
NETWORK_FILE_SYSTEM = re.compile(
    r"(fuse\.)?(9p|afs|beegfs|ceph|cifs|davfs|fhgfs|glusterfs|gpfs|lustre|nfs4?|orangefs|panfs|pvfs2|s3fs|smb\w+)|"
    r"fuse\.sshfs|wekafs"
)


class StoreAway(UserError):
    """The tracking server does not answer."""


def mlruns_dir() -> Path:
    """The folder of the project's own store, spool and checkpoints: ``mlruns`` in the working folder, absolute."""
    return Path.cwd() / "mlruns"


def set_mlflow_defaults() -> None:
    """Set how MLflow behaves in this process and those it starts; what a person has set stays."""
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)


def resolve_uri(tracking: Tracking) -> str:
    """The tracking URI to use, with every relative path made absolute, so that it holds in any other process.

    Raises:
        UserError: A file store (MLflow 3.13 and later refuse it), an in-memory database, or an unknown scheme.
    """
    set_mlflow_defaults()
    uri = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{mlruns_dir() / 'mlflow.db'}"
    where = "tracking.uri" if tracking.uri else "MLFLOW_TRACKING_URI"
    scheme = uri.partition("://")[0].partition("+")[0]
    if scheme == "databricks" or (scheme in SCHEMES and "://" in uri):
        if scheme != "sqlite":
            return uri
        path, _, query = uri.partition("://")[2].removeprefix("/").partition("?")
        if path and path != ":memory:":
            return f"sqlite:///{absolute(path)}" + (f"?{query}" if query else "")
        raise UserError(f"{where}: {uri!r} is a database in memory: name a file, such as sqlite:///mlruns/mlflow.db")
    if scheme == "file" or "://" not in uri:
        raise UserError(
            f"{where}: {uri!r} is a file store, which MLflow no longer takes: "
            f"use a database file, such as sqlite:///{uri.removeprefix('file:').removeprefix('//')}/mlflow.db"
        )
    raise UserError(f"{where}: {uri!r} has an unknown scheme: use one of {', '.join(SCHEMES)}")


def without_password(uri: str) -> str:
    """The URI, or a text with URIs in it, as it may be shown."""
    return re.sub(r"(//[^/@:\s]*):[^/@\s]*@", r"\1:***@", uri)


def sqlite_path(uri: str) -> Path | None:
    """The database file of a sqlite URI; None for any other."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def prepare_store(uri: str) -> None:
    """Makes the store ready for any number of processes; raises within seconds if that cannot be.

    MLflow creates a fresh sqlite database table by table, and processes that meet on it fail. Here one process, under
    a file lock, builds it under another name and moves it in place: a database that is there is complete.

    Raises:
        StoreAway: The server, of MLflow or of a database, does not answer.
        UserError: The database file cannot be made, or a database server's driver is not installed.
    """
    path = sqlite_path(uri)
    if path is None:
        if uri.startswith("http"):
            _check_server(uri)
        elif not uri.startswith("databricks"):
            _check_database_server(uri)
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


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the MLflow experiment, created where it is not there yet; any number of processes may ask at once.

    Raises:
        UserError: The experiment has been deleted, or the store cannot be used.
    """
    from mlflow.exceptions import MlflowException

    path = sqlite_path(uri)
    location = str(path.parent / "artifacts" / re.sub(r"[^\w.-]+", "_", name)) if path else None
    try:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return client.create_experiment(name, artifact_location=location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = client.get_experiment_by_name(name)
    except MlflowException as error:
        raise store_error(uri, error) from error
    if experiment is None or experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"tracking.experiment: {name!r} has been deleted in {without_password(uri)}: restore it "
            "(mlflow experiments restore) or choose another name"
        )
    return experiment.experiment_id


def author() -> dict[str, str]:
    """What MLflow's own clients say of a new run."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "covidmt", "mlflow.source.type": "LOCAL"}


def make_client(uri: str) -> MlflowClient:
    """An MLflow client of this store."""
    set_mlflow_defaults()
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def store_error(uri: str, error: Exception) -> UserError:
    """What a person should read when the store refuses at the start."""
    hint = ""
    if "out-of-date database schema" in str(error):
        hint = f": back the database up, then run `mlflow db upgrade {without_password(uri)}`"
    elif uri.startswith("http"):
        hint = ": see the server's log"
    reason = re.sub(r" failed with exception .*Caused by (.*)\)$", r" failed: \1", str(error).splitlines()[0])
    return UserError(f"tracking store {without_password(uri)}: {reason}{hint}")


def network_file_system(path: Path, mounts: Iterable[tuple[str, str]] | None = None) -> str | None:
    """The kind of network file system that the path lies on, or None.

    Args:
        path: A file or folder, which need not exist.
        mounts: (mount point, file system type) pairs; None: this machine's.
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


def _create_database(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import OperationalError

    mlflow_log = logging.getLogger("mlflow.store.db.utils")
    level = mlflow_log.level
    mlflow_log.setLevel(logging.WARNING)
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
            f"tracking store {path} cannot be read as a sqlite database ({error}): restore it from a copy, or set "
            "tracking.uri to another file"
        ) from error


def _check_database_server(uri: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, DBAPIError

    try:
        engine = create_engine(uri)
        engine.connect().close()
        engine.dispose()
    except DBAPIError as error:
        raise StoreAway(
            f"tracking store {without_password(uri)} does not answer ({str(error.orig).splitlines()[0]}): start it, or "
            "put tracking.uri or MLFLOW_TRACKING_URI right"
        ) from error
    except (ImportError, ArgumentError) as error:
        raise UserError(
            f"tracking store {without_password(uri)}: its database driver cannot be used ({error}): install it "
            "(`pip install covidmt[postgresql]` has that of postgresql+psycopg2://...), or name an MLflow server"
        ) from error


def _check_server(uri: str) -> None:
    import requests

    try:
        # A server that is not there refuses at once; one whose jobs all start together may take its time.
        status = requests.get(uri.rstrip("/") + "/health", timeout=(5, 60)).status_code
    except requests.RequestException as error:
        raise StoreAway(
            f"tracking server {without_password(uri)} does not answer: start it, put tracking.uri or "
            f"MLFLOW_TRACKING_URI right, or leave both out to use the project's own store ({type(error).__name__})"
        ) from error
    if status >= 500:
        raise UserError(
            f"tracking server {without_password(uri)} is ill (it answers {status}): see its log, or leave tracking.uri "
            "and MLFLOW_TRACKING_URI out to use the project's own store"
        )
