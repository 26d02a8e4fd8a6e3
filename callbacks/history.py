"""Remembers every validation epoch's metrics, for the table at the end and for the best epoch."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class MetricHistory(Callback):
    """``validations`` (epoch and metrics, in order) and ``test``: what was logged, as floats.

    Comes last among the callbacks, so that all others have logged by then.
    """

    def __init__(self) -> None:
        self.validations: list[tuple[int, dict[str, float]]] = []
        self.test: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """Goes into checkpoints, so that a resumed run's table tells of all its epochs."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.validations = [(epoch, metrics) for epoch, metrics in state_dict["validations"]]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning keeps the last value of a metric that is undefined now, and so not logged: forget it."""
        for key in [key for key in trainer.callback_metrics if key.startswith("val/")]:
            del trainer.callback_metrics[key]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the validation metrics."""
        if not trainer.sanity_checking:
            self.validations.append((trainer.current_epoch, _floats(trainer, "val/")))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the test metrics."""
        self.test = _floats(trainer, "test/")

    def best(self, monitor: str, *, highest: bool = False) -> tuple[int, dict[str, float]] | None:
        """Epoch and metrics of the validation with the best ``monitor``; None where it was never a number."""
        known = [entry for entry in self.validations if not isnan(entry[1].get(monitor, nan))]
        choose = max if highest else min
        return choose(known, key=lambda entry: entry[1][monitor]) if known else None


def _floats(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
