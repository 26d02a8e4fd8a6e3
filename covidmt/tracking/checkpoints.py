"""A trained network by the name that a person has for it: a checkpoint file, an MLflow run, a registered model."""

from __future__ import annotations

import logging
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from covidmt.tracking.folders import UNTRACKED, RunFolder, mlruns_dir
from covidmt.tracking.models.registry import MODEL
from covidmt.tracking.runs.naming import RUN_ID, find_run
from covidmt.tracking.store import Store
from datamodules.demo.write import is_made_up
from experiments.errors import UserError, first_line
from experiments.paths import expand, require_name
from experiments.schema import Experiment, Tracking

log = logging.getLogger(__name__)

ARTIFACT = "checkpoints/best.ckpt"
MODELS = "models:/"  # how MLflow begins a model's URI
CHECKPOINT = "data/best.ckpt"  # among a model's files


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

    def title(self, experiment: str) -> str:
        """Return a network's name as a person knows it: its experiment's, and the run's first digits or the file's.

        Example:
            >>> FoundCheckpoint(Path("best.ckpt"), "3fce2ff7affb4fa9813934da5c7fc0b8", Store("sqlite:///x.db")).title("demo")
            'demo (3fce2ff7)'
        """
        return f"{experiment} ({self.run_id[:8] if self.run_id else self.path.name})"

    def title_of(self, experiment: Experiment) -> str:
        """Return the title beside an answer: where the network learned from drawings, and they are here, it says so.

        Example:
            >>> from experiments.load import load_experiment
            >>> demo = load_experiment("experiments/demo.yaml", ["data.root=/data/cxr"])
            >>> FoundCheckpoint(Path("best.ckpt"), None, Store("sqlite:///x.db")).title_of(demo)
            'demo (best.ckpt)'
        """
        folders = {experiment.data.sources[task.source].folder for task in experiment.active}
        drawn = ", trained on made-up films" if any(map(is_made_up, folders)) else ""
        return f"{self.title(experiment.name)}{drawn}"


def find_checkpoint(reference: str, store: Store | None = None) -> FoundCheckpoint:
    """Return the checkpoint of a path, or the best one of a run.

    A path tells the run where ``covidmt train`` wrote it: ``mlruns/checkpoints/<run id>/best.ckpt``. A run's checkpoint
    is taken from there, below the working folder, or else downloaded to there from the run's artifacts; a model's is
    downloaded to ``mlruns/models/<model id>/best.ckpt``. A run that has not ended is taken as it is, with a warning.

    Args:
        reference: A file, what :func:`~covidmt.tracking.runs.naming.find_run` takes for a run, a run without MLflow
            (``untracked-...``), or a model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/MODEL_ID``.
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
    if reference.startswith(MODELS):
        return _find_model(reference, store)
    path = expand(reference)
    if path.is_file():
        folder = path.absolute().parent.name
        return FoundCheckpoint(path, folder if RUN_ID.fullmatch(folder) else None, store)
    if path.suffix == ".ckpt" or path.is_absolute() or path.is_dir():
        raise UserError(f"{reference}: neither a checkpoint file nor a run; `covidmt train` ends with both")

    if reference.startswith(UNTRACKED):
        if not RunFolder(reference).best.is_file():
            raise UserError(
                f"{reference}: there is no {RunFolder(reference).best}; start in the folder it was trained in"
            )
        return FoundCheckpoint(RunFolder(reference).best, None, store)
    run_id = reference if RUN_ID.fullmatch(reference) else find_run(reference, store).info.run_id
    path = RunFolder(run_id).best
    if not path.is_file():
        _download(run_id, store, path)
    if RunFolder(run_id).is_open:
        _warn_of_open(run_id)
    return FoundCheckpoint(path, run_id, store)


@cache  # once a command, however often it asks
def _warn_of_open(run_id: str) -> None:
    log.warning("run %s has not ended: its network is that of the best epoch so far", run_id)


def _find_model(reference: str, store: Store) -> FoundCheckpoint:
    """Return the checkpoint of a LoggedModel, by its id or by its name in the registry."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    store.require(
        f"{reference}: there is no tracking store {store}; start in the folder that the network was trained in, or set "
        "MLFLOW_TRACKING_URI"
    )
    name = reference.removeprefix(MODELS)
    try:
        model_id = _model_id(name, store)
        model = store.client.get_logged_model(model_id)
        path = mlruns_dir() / "models" / require_name(model_id, "model") / Path(CHECKPOINT).name
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
                uri = f"{model.artifact_location}/{CHECKPOINT}"
                Path(download_artifacts(uri, dst_path=folder, tracking_uri=store.uri)).replace(path)
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{reference}: cannot be had from {store}: {first_line(error)}; the MLflow UI lists the models "
            "(`covidmt ui`), and tracking.register registers a training's"
        ) from error
    return FoundCheckpoint(path, model.source_run_id, store)


def _model_id(name: str, store: Store) -> str:
    """Return the LoggedModel behind ``NAME@ALIAS``, ``NAME/VERSION`` or its own id.

    Raises:
        UserError: A version that is of no LoggedModel.
        MlflowException: There is none, or the store does not answer.
    """
    if re.fullmatch(r"m-[0-9a-f]{32}", name):
        return name
    registered, at, alias = name.partition("@")
    if at:
        version = store.client.get_model_version_by_alias(registered, alias)
    else:
        registered, _, number = name.partition("/")
        version = store.client.get_model_version(registered, number)
    model_id = version.tags.get(MODEL) or version.model_id
    if not model_id:
        raise UserError(f"{MODELS}{name}: is no model of covidmt: it was registered without a LoggedModel")
    return model_id


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
        raise UserError(f"run {run_id}: its checkpoint cannot be downloaded: {store.explain(error)}") from error


def _require_artifact(store: Store, run_id: str) -> None:
    """Refuse a run that is not in the store or has no checkpoint there."""
    if not store.knows(run_id):
        raise UserError(
            f"run {run_id}: not in {store}; copy the id from the MLflow UI (`covidmt ui`), or set MLFLOW_TRACKING_URI"
        )

    files = [file.path for file in store.client.list_artifacts(run_id, "checkpoints")]
    if ARTIFACT not in files:
        has = f"it has {', '.join(files)}" if files else "it has not ended, or ran with tracking.log_checkpoint=false"
        raise UserError(f"run {run_id}: no {ARTIFACT} among its artifacts in {store} ({has}); give a checkpoint's path")
