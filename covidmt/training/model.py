"""The network that a training ends with, logged to its run as an MLflow model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from callbacks.epochs.history import MetricHistory
from covidmt.exporting.card import model_card
from covidmt.exporting.facts import NO_SHORTCUT, ModelFacts, linked_metrics
from covidmt.exporting.package import write_model
from covidmt.tracking.models.logged import ModelEntry
from covidmt.tracking.untracked import RunLogger
from experiments.schema import Experiment


def log_network(
    logger: RunLogger,
    experiment: Experiment,
    history: MetricHistory,
    checkpoint: Path,
    scores: str,
    shortcuts: str,
) -> None:
    """Log the best epoch's network as the run's LoggedModel, with its card, and its metrics linked to the data sets.

    Args:
        logger: Of the run.
        experiment: What was trained.
        history: Its metrics.
        checkpoint: The best epoch's.
        scores: The table that the training ends with, Markdown.
        shortcuts: As in the run's tag.
    """
    best = history.best(f"val/{experiment.active[0].name}/loss")
    if best is None:
        return

    epoch, validation = best
    facts = ModelFacts(
        experiment,
        str(logger.version),
        epoch,
        scores,
        [entry["dataset"] for entry in logger.datasets],
        [] if shortcuts == NO_SHORTCUT else shortcuts.splitlines(),
        linked_metrics(experiment, validation | history.test),
    )
    card = model_card(facts)
    entry = ModelEntry(card, epoch, facts.metrics or {}, experiment.tracking.register, facts.monitor)
    logger.log_model(partial(write_model, checkpoint=checkpoint, card=card), entry)
