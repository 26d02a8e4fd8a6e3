"""A trained network by the name that a person has for it: a checkpoint file, or the id of an MLflow run."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.paths import expand
from experiments.schema import Tracking

RUN_ID = re.compile(r"[0-9a-f]{32}")
ARTIFACT = "checkpoints/best.ckpt"


class FoundCheckpoint(NamedTuple):
    """A checkpoint on this machine.

    Attributes:
        path: The file.
        run_id: The MLflow run that made it; None where that is not known.
        store: The tracking store in which ``run_id`` is looked for; it need not know a run that a path tells of.
    """

    path: Path
    run_id: str | None
    store: Store


def find_checkpoint(reference: str, store: Store | None = None) -> FoundCheckpoint:
    """Return the checkpoint of a path, or the best one of a run.

    A path tells the run where ``covidmt train`` wrote it: ``mlruns/checkpoints/<run id>/best.ckpt``. A run's checkpoint
    is taken from there, below the working folder, or else downloaded to there from the run's artifacts.

    Args:
        reference: A file, or a run id of 32 hex digits.
        store: Where to look for a run; None: as for training.

    Raises:
        UserError: No such file or run, a run without a checkpoint, or a store that does not answer.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from covidmt.tracking.checkpoints import find_checkpoint
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "0123456789abcdef0123456789abcdef" / "best.ckpt"
        ...     path.parent.mkdir()
        ...     path.touch()
        ...     find_checkpoint(str(path)).run_id
        '0123456789abcdef0123456789abcdef'
    """
    store = store or Store.of(Tracking())
    path = expand(reference)
    if path.is_file():
        folder = path.absolute().parent.name
        return FoundCheckpoint(path, folder if RUN_ID.fullmatch(folder) else None, store)
    if not RUN_ID.fullmatch(reference):
        raise UserError(
            f"{reference}: neither a checkpoint file nor a run id (32 hex digits); `covidmt train` ends with both"
        )

    path = RunFolder(reference).best
    if not path.is_file():
        _download(reference, store, path)
    return FoundCheckpoint(path, reference, store)


def _download(run_id: str, store: Store, path: Path) -> None:
    from mlflow.exceptions import MlflowException

    store.require(  # a server that does not answer is an error at once
        f"run {run_id}: there is neither {path} nor a tracking store {store}; start in the folder that the run was "
        "started in, set MLFLOW_TRACKING_URI, or give the checkpoint's path"
    )
    try:
        _require_artifact(store, run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
            Path(store.client.download_artifacts(run_id, ARTIFACT, folder)).replace(path)
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"run {run_id}: its checkpoint cannot be downloaded from {store}: {reason}") from error


def _require_artifact(store: Store, run_id: str) -> None:
    """Refuse a run that is not in the store or has no checkpoint there."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(
            f"run {run_id}: not in {store}; copy the id from the MLflow UI (`covidmt ui`), or set MLFLOW_TRACKING_URI"
        ) from error

    files = [file.path for file in store.client.list_artifacts(run_id, "checkpoints")]
    if ARTIFACT not in files:
        has = f"it has {', '.join(files)}" if files else "it has not ended, or ran with tracking.log_checkpoint=false"
        raise UserError(f"run {run_id}: no {ARTIFACT} among its artifacts in {store} ({has}); give a checkpoint's path")
