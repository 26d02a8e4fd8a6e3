"""Remembers every validation epoch's metrics, for the table at the end and for the best epoch."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer


class MetricHistory(Callback):
    """``epochs[epoch]`` and ``test``: the logged metrics as floats.

    Comes last among the callbacks, so that all others have logged by then.
    """

    def __init__(self) -> None:
        self.epochs: dict[int, dict[str, float]] = {}
        self.test: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch's validation metrics."""
        if not trainer.sanity_checking:
            self.epochs[trainer.current_epoch] = _floats(trainer, "val/")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the test metrics."""
        self.test = _floats(trainer, "test/")

    def best(self, monitor: str) -> int | None:
        """The epoch with the lowest ``monitor``, None where it was never logged."""
        scores = {epoch: metrics[monitor] for epoch, metrics in self.epochs.items() if monitor in metrics}
        return min(scores, key=lambda epoch: scores[epoch]) if scores else None


def _floats(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
