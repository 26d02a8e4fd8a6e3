"""Optuna during a training: reports each validation epoch, stops an unpromising trial.

optuna-integration has such a callback; in DDP it knows database storages alone (no journal file, which a cluster's
shared disks need), forgets the epochs before a requeue, and wants a call after the fit.
"""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from experiments.errors import UserError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage

VALUE, PRUNED = "value", "pruned_at_epoch"  # what is noted on the Optuna trial


class PrunerSettings(TypedDict):
    """One of `optuna.pruners`, and the arguments of its class."""

    name: str
    options: dict[str, object]


def open_storage(place: str) -> BaseStorage:
    """Return an Optuna storage: of a URL (``sqlite:///...``), or of a journal file ``*.journal``."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if place.endswith(".journal"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place))
    # Many jobs may report at once: sqlite's default of 5 s is short.
    return RDBStorage(place, engine_kwargs={"connect_args": {"timeout": 60}} if place.startswith("sqlite") else None)


def make_pruner(settings: PrunerSettings | None) -> BasePruner:
    """Return the pruner; None: one that never stops a trial.

    Example:
        >>> type(make_pruner({"name": "MedianPruner", "options": {"n_warmup_steps": 2}})).__name__
        'MedianPruner'
    """
    import optuna

    if settings is None:
        return optuna.pruners.NopPruner()
    return getattr(optuna.pruners, settings["name"])(**settings["options"])


class OptunaPruning(Callback):
    """Tell an Optuna trial the metric of every validation epoch; when its pruner says so, this epoch is the last.

    The first process alone speaks to the storage; its decision goes to all. The objective is the metric's value at the
    epoch of the best checkpoint. A resumed trial knows its best epoch.

    Args:
        storage: See :func:`open_storage`.
        study: The study's name.
        trial: The trial's number.
        metric: A validation metric, such as ``val/covidx/loss``.
        pruner: See :func:`make_pruner`.
    """

    def __init__(self, storage: str, study: str, trial: int, metric: str, pruner: PrunerSettings | None = None) -> None:
        self.storage = storage
        self.study = study
        self.trial = trial
        self.metric = metric
        self.pruner = pruner
        self._lowest = inf

    @override
    def state_dict(self) -> dict[str, float]:
        return {"lowest": self._lowest}

    @override
    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._lowest = state_dict["lowest"]

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        stop = self._report(trainer) if trainer.is_global_zero else False
        if trainer.strategy.broadcast(stop):
            trainer.should_stop = True

    def _report(self, trainer: Trainer) -> bool:
        """Report this epoch's value; return whether the trial is to stop."""
        import optuna

        metrics, epoch = trainer.callback_metrics, trainer.current_epoch
        if self.metric not in metrics:
            names = ", ".join(sorted(name for name in metrics if name.startswith("val/")))
            raise UserError(f"search.metric: no metric {self.metric!r} after validation; there are {names}")
        value = float(metrics[self.metric])

        # the trial in its study
        storage = open_storage(self.storage)
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=make_pruner(self.pruner))
        study_id = storage.get_study_id_from_name(self.study)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, self.trial)
        storage.set_trial_intermediate_value(trial_id, epoch, value)

        # the objective, at the epoch that the best checkpoint is of
        monitor = getattr(trainer.checkpoint_callback, "monitor", None) or self.metric
        monitored = float(metrics.get(monitor, value))
        if monitored < self._lowest and isfinite(value):
            self._lowest = monitored
            storage.set_trial_user_attr(trial_id, VALUE, value)

        if not study.pruner.prune(study, storage.get_trial(trial_id)):
            return False
        storage.set_trial_user_attr(trial_id, PRUNED, epoch)
        return True
