"""Optuna during a training: reports each validation epoch, stops an unpromising trial.

optuna-integration has such a callback; in DDP it knows database storages alone (no journal file, which a cluster's
shared disks need), forgets the epochs before a requeue, and wants a call after the fit.
"""

from __future__ import annotations

from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from experiments.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

VALUE, PRUNED = "value", "pruned_at_epoch"  # what is noted on the Optuna trial


def open_storage(place: str) -> BaseStorage:
    """An Optuna storage: a URL (``sqlite:///...``), or a journal file ``*.journal``."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if place.endswith(".journal"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place))
    # Many jobs may report at once: sqlite's default of 5 s is short.
    return RDBStorage(place, engine_kwargs={"connect_args": {"timeout": 60}} if place.startswith("sqlite") else None)


class OptunaPruning(Callback):
    """Tells an Optuna trial the metric of every validation epoch; when its pruner says so, this epoch is the last.

    The first process alone speaks to the storage; its decision goes to all. The objective is the metric's value at the
    epoch of the best checkpoint.

    Args:
        storage: See `open_storage`.
        study: The study's name.
        trial: The trial's number.
        metric: A validation metric, such as ``val/covidx/loss``.
        pruner: ``{name, options}`` of one of `optuna.pruners`; None: never stops.
    """

    def __init__(self, storage: str, study: str, trial: int, metric: str, pruner: dict[str, Any] | None = None) -> None:
        self.storage, self.study, self.trial, self.metric, self.pruner = storage, study, trial, metric, pruner
        self._lowest = inf

    def state_dict(self) -> dict[str, Any]:
        """So that a resumed trial knows its best epoch."""
        return {"lowest": self._lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._lowest = state_dict["lowest"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report and decide."""
        if trainer.sanity_checking:
            return
        stop = self._report(trainer) if trainer.is_global_zero else False
        if trainer.strategy.broadcast(stop):
            trainer.should_stop = True

    def _report(self, trainer: Trainer) -> bool:
        import optuna

        metrics = trainer.callback_metrics
        if self.metric not in metrics:
            known = sorted(name for name in metrics if name.startswith("val/"))
            raise UserError(f"search.metric: no metric {self.metric!r} after validation; there are {', '.join(known)}")
        value = float(metrics[self.metric])
        storage = open_storage(self.storage)
        pruner = getattr(optuna.pruners, self.pruner["name"])(**self.pruner["options"]) if self.pruner else None
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=pruner or optuna.pruners.NopPruner())
        number = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(self.study), self.trial)
        epoch = trainer.current_epoch
        storage.set_trial_intermediate_value(number, epoch, value)
        best = trainer.checkpoint_callback
        selected = float(metrics.get(getattr(best, "monitor", None) or self.metric, value))
        if selected < self._lowest and not isnan(value):
            self._lowest = selected
            storage.set_trial_user_attr(number, VALUE, value)
        if not study.pruner.prune(study, storage.get_trial(number)):
            return False
        storage.set_trial_user_attr(number, PRUNED, epoch)
        return True
