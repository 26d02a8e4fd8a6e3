"""How a run trained: loss and accuracy of a task over epochs, from MLflow's metric history."""

from __future__ import annotations

import pandas as pd

from covidmt.tracking.store import Store

MEASURES, SPLITS = ("loss", "accuracy"), ("train", "val")


def training_history(store: Store, run_id: str, task: str) -> dict[str, pd.Series]:
    """Return what was logged of a task while it was trained.

    Validation is logged once an epoch. Training is logged batch by batch, at global steps: an epoch's value is the mean
    of its logged batches, whose epochs the run's metric ``epoch`` tells.

    Args:
        store: The tracking store.
        run_id: The run.
        task: Name of the task.

    Returns:
        ``<train|val>/<loss|accuracy>`` -> values by epoch (from 0), without those that were never logged.

    Raises:
        MlflowException: The store cannot tell.
    """
    client = store.client

    def points(key: str) -> pd.Series:
        values = pd.Series({m.step: m.value for m in client.get_metric_history(run_id, key)}, dtype=float)
        return values[values.abs() < 1e300].sort_index()  # neither NaN nor what MLflow keeps of an infinity

    epochs = points("epoch")
    history: dict[str, pd.Series] = {}
    for measure in MEASURES:
        for split in SPLITS:
            values = points(f"{split}/{task}/{measure}")
            if split == "train":
                values = values.groupby(epochs.reindex(values.index)).mean()
            if len(values):
                history[f"{split}/{measure}"] = values
    return history
