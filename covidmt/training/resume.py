"""Which run a command resumes: ``auto``, ``never`` or a run's id."""

from __future__ import annotations

import json
import logging
import os
from hashlib import sha256
from typing import NamedTuple

from lightning.pytorch import Trainer

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import RUN_ID, global_rank
from covidmt.tracking.spool.place import SpoolLock
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.files import is_there
from experiments.load import to_dict
from experiments.schema import Experiment

log = logging.getLogger(__name__)


class ChosenRun(NamedTuple):
    """The run to log to.

    Attributes:
        run_id: None: a new one.
        lock: Its lock, in the first process: nothing of the run was read before it was held.
    """

    run_id: str | None
    lock: SpoolLock | None = None

    def release(self) -> None:
        """Let others have the run."""
        if self.lock:
            self.lock.release()


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
    if not is_there(last):
        raise UserError(
            f"--resume {run_id}: there is no {last}; start in the folder that the run was started in, or give auto or "
            "never (a finished run keeps it with checkpoint.keep=all alone)"
        )


def choose_run(experiment: Experiment, resume: str, run_id: str | None, trainer: Trainer) -> ChosenRun:
    """Return the run to log to; where it has a ``last.ckpt``, it is resumed there.

    The first process chooses and locks it, all others learn it.

    Args:
        experiment: What to run.
        resume: ``auto``: the newest run of just these settings in this folder that did not finish and that no live
            process writes; ``never``: none, an old checkpoint of ``run_id`` is removed; else a run's id.
        run_id: A run that was made for this training; it wins.
        trainer: Knows the processes.
    """
    # several processes
    if global_rank() != 0 and RUN_ID in os.environ:  # Lightning started this process when the first had its run
        return ChosenRun(os.environ[RUN_ID])
    if trainer.world_size > 1 and _started_from_outside(trainer):
        trainer.strategy.setup_environment()
        chosen = _choose_alone(experiment, resume, run_id) if global_rank() == 0 else ChosenRun(None)
        return chosen._replace(run_id=trainer.strategy.broadcast(chosen.run_id))
    return _choose_alone(experiment, resume, run_id)


def _started_from_outside(trainer: Trainer) -> bool:
    """Return whether SLURM or torchrun started the processes, not Lightning."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return environment is not None and environment.creates_processes_externally


def _choose_alone(experiment: Experiment, resume: str, run_id: str | None) -> ChosenRun:
    if resume not in ("auto", "never"):
        run_id = resume
    if run_id is None:
        return _newest_unfinished(experiment) if resume == "auto" else ChosenRun(None)

    run = RunFolder(run_id)
    lock = SpoolLock.take(run.spool)
    if resume == "never":
        run.last.unlink(missing_ok=True)
    return ChosenRun(run_id, lock)


def _newest_unfinished(experiment: Experiment) -> ChosenRun:
    """Return the newest run of these settings that did not finish, that no process writes and that the store knows."""
    fingerprint = hash_settings(experiment)
    for run in RunFolder.unfinished(fingerprint):
        lock = SpoolLock.take_if_left(run.spool)
        if lock is None:
            log.warning(
                "Run %s of the same settings is being written by another process: this is another run.", run.run_id
            )
        # whoever had the lock until now may have finished it
        elif run.is_unfinished(fingerprint) and _is_in_store(experiment, run.run_id):
            return ChosenRun(run.run_id, lock)
        else:
            lock.release()
    return ChosenRun(None)


def _is_in_store(experiment: Experiment, run_id: str) -> bool:
    """Return whether the run can be resumed: the store may have been removed, or be another one.

    Raises:
        UserError: The store does not answer.
    """
    if not experiment.tracking.enabled:
        return True
    store = Store.of(experiment.tracking)
    store.prepare()
    with store.explaining():
        return store.lifecycle(run_id) == "active"
