"""The metrics of every validation epoch, for the table at the end and for the best epoch."""

from __future__ import annotations

from math import isfinite, nan

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

EpochMetrics = tuple[int, dict[str, float]]  # an epoch, and its metrics by name


class MetricHistory(Callback):
    """Remember every validation's metrics, and the test's.

    Comes last among the callbacks, so that all others have logged by then. A resumed run remembers all its epochs.

    Attributes:
        validations: Epoch and metrics of each validation, in order.
        test: The test's metrics; empty before it.

    Example:
        >>> history = MetricHistory()
        >>> history.validations = [(0, {"val/loss": 0.7}), (1, {"val/loss": 0.4}), (2, {"val/loss": 0.5})]
        >>> history.best("val/loss")
        (1, {'val/loss': 0.4})
    """

    def __init__(self) -> None:
        self.validations: list[EpochMetrics] = []
        self.test: dict[str, float] = {}

    def best(self, monitor: str, *, highest: bool = False) -> EpochMetrics | None:
        """Return epoch and metrics of the validation with the best ``monitor``; None if it was never a number.

        Args:
            monitor: The metric's name.
            highest: Whether high values are good; else low ones are.
        """
        candidates = [entry for entry in self.validations if isfinite(entry[1].get(monitor, nan))]
        if not candidates:
            return None
        choose = max if highest else min
        return choose(candidates, key=lambda entry: entry[1][monitor])

    @override
    def state_dict(self) -> dict[str, list[EpochMetrics]]:
        return {"validations": self.validations}

    @override
    def load_state_dict(self, state_dict: dict[str, list[EpochMetrics]]) -> None:
        self.validations = [(epoch, metrics) for epoch, metrics in state_dict["validations"]]

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning keeps the last value of a metric that is undefined now, and so not logged: forget it.
        for key in [key for key in trainer.callback_metrics if key.startswith("val/")]:
            del trainer.callback_metrics[key]

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.validations.append((trainer.current_epoch, _floats(trainer, "val/")))

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.test = _floats(trainer, "test/")


def _floats(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
