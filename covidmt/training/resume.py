"""Which run a command resumes: ``auto``, ``never`` or a run's id."""

from __future__ import annotations

import json
import logging
import os
from hashlib import sha256

from lightning.pytorch import Trainer

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import RUN_ID, global_rank
from covidmt.tracking.spool import in_use
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.load import to_dict
from experiments.schema import Experiment

log = logging.getLogger(__name__)


def hash_settings(experiment: Experiment) -> str:
    """Return a hash of all settings of an experiment.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> first, same, other = (load_experiment(SHIPPED / "demo.yaml", [f"seed={seed}"]) for seed in (0, 0, 1))
        >>> hash_settings(first) == hash_settings(same), hash_settings(first) == hash_settings(other)
        (True, False)
    """
    return sha256(json.dumps(to_dict(experiment), sort_keys=True).encode()).hexdigest()


def require_checkpoint(run_id: str) -> None:
    """Refuse a run that cannot be resumed.

    Raises:
        UserError: It has no checkpoint in this working folder.
    """
    last = RunFolder(run_id).last
    if not last.is_file():
        raise UserError(
            f"--resume {run_id}: there is no {last}; start in the folder that the run was started in, or give auto or "
            "never"
        )


def choose_run(experiment: Experiment, resume: str, run_id: str | None, trainer: Trainer) -> str | None:
    """Return the id of the run to log to, or None for a new one; where it has a ``last.ckpt``, it is resumed there.

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

    # several processes
    if global_rank() != 0 and RUN_ID in os.environ:  # Lightning started this process when the first had its run
        return os.environ[RUN_ID]
    if trainer.world_size > 1 and _started_from_outside(trainer):
        trainer.strategy.setup_environment()
        return trainer.strategy.broadcast(_choose_alone(experiment, resume, run_id) if global_rank() == 0 else None)
    return _choose_alone(experiment, resume, run_id)


def _started_from_outside(trainer: Trainer) -> bool:
    """Return whether SLURM or torchrun started the processes, not Lightning."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return environment is not None and environment.creates_processes_externally


def _choose_alone(experiment: Experiment, resume: str, run_id: str | None) -> str | None:
    if resume == "never":
        if run_id is not None:
            RunFolder(run_id).last.unlink(missing_ok=True)
        return run_id
    return _newest_unfinished(experiment)


def _newest_unfinished(experiment: Experiment) -> str | None:
    """Return the newest run of these settings that did not finish, that no process writes and that the store knows."""
    for run in RunFolder.unfinished(hash_settings(experiment)):
        if in_use(run.spool):
            log.warning(
                "Run %s of the same settings is being written by another process: this is another run.", run.run_id
            )
        elif _is_in_store(experiment, run.run_id):
            return run.run_id
    return None


def _is_in_store(experiment: Experiment, run_id: str) -> bool:
    """Return whether the run can be resumed: the store may have been removed, or be another one.

    Raises:
        UserError: The store does not answer.
    """
    store = Store.of(experiment.tracking)
    store.prepare()
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise store.explain(error) from error
