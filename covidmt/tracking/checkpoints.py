"""A trained network by the name that a person has for it: a checkpoint file, or the id of an MLflow run."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from covidmt.tracking.store import make_client, mlruns_dir, prepare_store, resolve_uri, sqlite_path, without_password
from experiments.errors import UserError
from experiments.paths import expand
from experiments.schema import Tracking

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_ID = re.compile(r"[0-9a-f]{32}")
ARTIFACT = "checkpoints/best.ckpt"


class FoundCheckpoint(NamedTuple):
    """A checkpoint on this machine.

    Attributes:
        path: The file.
        run_id: The MLflow run that made it; None where that is not known.
        uri: The tracking store that ``run_id`` is looked for in; it need not know a run that a path tells of.
    """

    path: Path
    run_id: str | None
    uri: str


def find_checkpoint(reference: str, uri: str | None = None) -> FoundCheckpoint:
    """The checkpoint of a path, or the best one of a run.

    A path tells the run where ``covidmt train`` wrote it: ``mlruns/checkpoints/<run id>/best.ckpt``. A run's checkpoint
    is taken from there, below the working folder, or else downloaded to there from the run's artifacts.

    Args:
        reference: A file, or a run id of 32 hex digits.
        uri: Tracking URI; None: as for training.

    Raises:
        UserError: No such file or run, a run without a checkpoint, or a store that does not answer.
    """
    uri = resolve_uri(Tracking(uri=uri))
    path = expand(reference)
    if path.is_file():
        folder = path.absolute().parent.name
        return FoundCheckpoint(path, folder if RUN_ID.fullmatch(folder) else None, uri)
    if not RUN_ID.fullmatch(reference):
        raise UserError(
            f"{reference}: neither a checkpoint file nor a run id (32 hex digits); `covidmt train` ends with both"
        )
    path = mlruns_dir() / "checkpoints" / reference / Path(ARTIFACT).name
    if not path.is_file():
        _download(reference, uri, path)
    return FoundCheckpoint(path, reference, uri)


def _download(run_id: str, uri: str, path: Path) -> None:
    from mlflow.exceptions import MlflowException

    store = without_password(uri)
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise UserError(
            f"run {run_id}: there is neither {path} nor a tracking store {store}; start in the folder that the run was "
            "started in, set MLFLOW_TRACKING_URI, or give the checkpoint's path"
        )
    prepare_store(uri)  # a server that does not answer is said at once
    client = make_client(uri)
    try:
        _check_run(client, run_id, store)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
            Path(client.download_artifacts(run_id, ARTIFACT, folder)).replace(path)
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"run {run_id}: its checkpoint cannot be had from {store}: {reason}") from error


def _check_run(client: MlflowClient, run_id: str, store: str) -> None:
    """That the run is there, and has the artifact."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(
            f"run {run_id}: not in {store}; copy the id from the MLflow UI (`covidmt ui`), or set MLFLOW_TRACKING_URI"
        ) from error
    files = [file.path for file in client.list_artifacts(run_id, "checkpoints")]
    if ARTIFACT not in files:
        has = f"it has {', '.join(files)}" if files else "it has not ended, or ran with tracking.log_checkpoint=false"
        raise UserError(f"run {run_id}: no {ARTIFACT} among its artifacts in {store} ({has}); give a checkpoint's path")
