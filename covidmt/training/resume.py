"""Which run a command goes on with: ``auto``, ``never`` or a run's id."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from hashlib import sha256

from lightning.pytorch import Trainer

from covidmt.tracking.logger import RUN_ID, global_rank
from covidmt.tracking.spool import in_use
from covidmt.tracking.store import make_client, mlruns_dir, prepare_store, resolve_uri, store_error
from experiments.errors import UserError
from experiments.load import to_dict
from experiments.schema import Experiment

log = logging.getLogger(__name__)


class RunFolder:
    """``mlruns/checkpoints/<run id>/``: checkpoints, and in ``unfinished`` the settings' hash until the run's end."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.path = mlruns_dir() / "checkpoints" / run_id
        self.last = self.path / "last.ckpt"

    def begin(self, experiment: Experiment) -> None:
        """From now on the same command goes on with this run."""
        self.path.mkdir(parents=True, exist_ok=True)
        new = self.path / "unfinished.new"  # a process killed meanwhile leaves the mark that was there
        new.write_text(fingerprint(experiment))
        new.replace(self.path / "unfinished")

    def finish(self) -> None:
        """The same command starts a new run."""
        (self.path / "unfinished").unlink(missing_ok=True)


def fingerprint(experiment: Experiment) -> str:
    """A hash of all settings."""
    return sha256(json.dumps(to_dict(experiment), sort_keys=True).encode()).hexdigest()


def require_checkpoint(run_id: str) -> None:
    """Refuse a run that cannot be gone on with.

    Raises:
        UserError: It has no checkpoint here.
    """
    last = RunFolder(run_id).last
    if not last.is_file():
        raise UserError(
            f"--resume {run_id}: there is no {last}; start in the folder that the run was started in, or give auto or "
            "never"
        )


def choose_run(experiment: Experiment, resume: str, run_id: str | None, trainer: Trainer) -> str | None:
    """The id of the run to log to, or None for a new one; where it has a ``last.ckpt``, that is to go on from.

    The first process chooses, all others learn it.

    Args:
        experiment: What to run.
        resume: ``auto``: the newest run of just these settings in this folder that did not finish and that no live
            process writes; ``never``: none, an old checkpoint of ``run_id`` is removed; else a run's id.
        run_id: A run that was made for this training; it wins.
        trainer: Knows the processes.
    """
    if resume not in ("auto", "never"):
        return resume
    if resume == "auto" and run_id is not None:
        return run_id
    if global_rank() != 0 and RUN_ID in os.environ:  # Lightning started this process when the first had its run
        return os.environ[RUN_ID]
    if trainer.world_size > 1 and _started_together(trainer):
        trainer.strategy.setup_environment()
        return trainer.strategy.broadcast(_choose(experiment, resume, run_id) if global_rank() == 0 else None)
    return _choose(experiment, resume, run_id)


def _started_together(trainer: Trainer) -> bool:
    """Whether SLURM or torchrun started the processes, not Lightning."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return environment is not None and environment.creates_processes_externally


def _choose(experiment: Experiment, resume: str, run_id: str | None) -> str | None:
    if resume == "never":
        if run_id is not None:
            RunFolder(run_id).last.unlink(missing_ok=True)
        return run_id
    return _newest_unfinished(experiment)


def _newest_unfinished(experiment: Experiment) -> str | None:
    marks, mine = [], fingerprint(experiment)
    for mark in (mlruns_dir() / "checkpoints").glob("*/unfinished"):
        with suppress(FileNotFoundError):  # a run that finishes meanwhile
            if mark.read_text() == mine:
                marks.append((mark.stat().st_mtime, mark.parent.name))
    for _, run_id in sorted(marks, reverse=True):
        if in_use(mlruns_dir() / "spool" / run_id):
            log.warning("Run %s of the same settings is being written by another process: this is another run.", run_id)
        elif _in_store(experiment, run_id):
            return run_id
    return None


def _in_store(experiment: Experiment, run_id: str) -> bool:
    """Whether the run is there to be gone on with: the store may have been removed, or be another one.

    Raises:
        UserError: The store cannot say.
    """
    from mlflow.exceptions import MlflowException

    uri = resolve_uri(experiment.tracking)
    prepare_store(uri)
    try:
        return make_client(uri).get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise store_error(uri, error) from error
