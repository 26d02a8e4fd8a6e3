"""One line an epoch, so that who watches a training, or a job's log, sees how it does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from math import isfinite, nan
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from callbacks.epochs.history import MetricHistory
from experiments.schema import Experiment, TaskKind
from experiments.trainer.loudness import is_quiet

HEARTBEAT = 300.0  # seconds between two lines of one epoch, where nobody sees the progress bar


class EpochLines(Callback):
    """Print a line after every validation, and every five minutes where the output is no terminal.

    ``epoch 3/25  12:41  8.1 steps/s  train loss 0.412  AUROC 0.931  accuracy 0.840  PI 2.9 %  OLS 14.7 %  *``: the time
    is that of the clock (with the date in a file), the loss the mean over the training batches since the last line; the
    rest is of the validation, and ``*`` marks the best epoch so far. Epochs are counted from 1, in MLflow from 0. The
    first process prints; a quiet command prints nothing.

    Args:
        history: It remembers the validations; this callback comes after it.
        monitor: The metric whose best value marks the best epoch.
        scores: What is shown of a validation, as far as it was logged: metric key -> text with its number's place.
        highest: Whether the monitor's high values are good; else low ones are.
        write: Prints a line.
        clock: Seconds; steps a second are counted by it.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> history = MetricHistory()
        >>> lines = EpochLines(history, "val/loss", {"val/pi_score": "PI {:.1f} %"})
        >>> history.validations = [(0, {"val/loss": 0.7, "val/pi_score": 2.9})]
        >>> lines.validation_text()
        'PI 2.9 %  *'
    """

    def __init__(
        self,
        history: MetricHistory,
        monitor: str,
        scores: Mapping[str, str],
        *,
        highest: bool = False,
        write: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history, self.monitor, self.highest, self.scores = history, monitor, highest, scores
        self.write, self.clock = write, clock
        self._is_terminal = sys.stdout.isatty()
        self._begin()

    def _begin(self, step: int = 0) -> None:
        """Count steps, time and losses from here."""
        self._since, self._first_step = self.clock(), step
        self._batches, self._loss = 0, 0.0

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer.global_step)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # The sum stays on its device: nothing waits for it here. Lightning has divided by the batches of a step.
        self._loss = self._loss + outputs["loss"].detach() * trainer.accumulate_grad_batches
        self._batches += 1
        if not self._is_terminal and self.clock() - self._since >= HEARTBEAT:
            self._print(trainer, f"step {batch_idx + 1}/{trainer.num_training_batches}")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._print(trainer, self.validation_text())

    def validation_text(self) -> str:
        """Return the newest validation's scores, with ``*`` where it is the best so far; empty before the first."""
        if not self.history.validations:
            return ""
        epoch, metrics = self.history.validations[-1]
        shown = [text.format(metrics[key]) for key, text in self.scores.items() if isfinite(metrics.get(key, nan))]
        best = self.history.best(self.monitor, highest=self.highest)
        return "  ".join(shown + ["*"] * (best is not None and best[0] == epoch))

    def _print(self, trainer: Trainer, text: str) -> None:
        if not trainer.is_global_zero or is_quiet():
            return
        now = f"{datetime.now():{'%H:%M' if self._is_terminal else '%Y-%m-%d %H:%M:%S'}}"
        epochs = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        parts = [f"epoch {trainer.current_epoch + 1}{epochs}", now]
        if self._batches:
            speed = (trainer.global_step - self._first_step) / max(self.clock() - self._since, 1e-9)
            parts += [f"{speed:.3g} steps/s", f"train loss {float(self._loss) / self._batches:.4g}"]
        self.write("  ".join([*parts, text]).rstrip())
        self._begin(trainer.global_step)


def epoch_scores(experiment: Experiment) -> dict[str, str]:
    """Return what a line shows of an experiment's validations: metric key -> text with its number's place.

    Example:
        >>> from experiments.schema import Task
        >>> list(epoch_scores(Experiment(tasks={"covidx": Task("covidx", "covidx", labels=["COVID-19"])})))
        ['val/covidx/auroc', 'val/covidx/accuracy', 'val/pi_score', 'val/ols_score/original']
    """
    task = experiment.tasks[experiment.robustness.task]
    label = f"/{experiment.robustness.label}" if len(task.labels) > 1 else ""
    boxes = {f"val/{task.name}/map": "mAP {:.3f}" for task in experiment.active if task.kind is TaskKind.boxes}
    return {
        f"val/{task.name}/auroc{label}": "AUROC {:.3f}",
        f"val/{task.name}/accuracy": "accuracy {:.3f}",
        **boxes,
        "val/pi_score": "PI {:.1f} %",
        "val/ols_score/original": "OLS {:.1f} %",
    }
