"""What is known of a trained network: from its training, or from the run that it left in MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.schema import Experiment

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SCORES = "summary.md"  # artifact of a run: the table that its training ends with
SHORTCUTS = "shortcuts"  # tag of a run: a sentence a line
NO_SHORTCUT = "none"
_VAL_SCORES = ("loss", "auroc", "accuracy", "map", "pi_score", "ols_score/original", "ols_score/received")


@dataclass(frozen=True)
class ModelFacts:
    """What a card says.

    Attributes:
        experiment: What was trained.
        run_id: The run that trained it; None: it is not known.
        epoch: Epoch of the weights, from 0; None: it is not known.
        scores: A Markdown table, the one that the training ended with; "" where there is none.
        datasets: Fields of MLflow's data sets, see :func:`.dataset_input`.
        shortcuts: What gives a class away besides the disease, a sentence each; None: it was not looked for.
        metrics: The metrics that belong to the weights -> the data set that they were measured on.
    """

    experiment: Experiment
    run_id: str | None = None
    epoch: int | None = None
    scores: str = ""
    datasets: Sequence[Mapping[str, str]] = ()
    shortcuts: Sequence[str] | None = None
    metrics: Mapping[str, str] | None = None

    @property
    def monitor(self) -> str:
        """The metric of which the lowest is the best."""
        return f"val/{self.experiment.active[0].name}/loss"


def read_facts(client: MlflowClient, run_id: str, experiment: Experiment) -> ModelFacts:
    """Return what the store knows of a run's network.

    Args:
        client: Of the store.
        run_id: The run.
        experiment: What was trained, from its checkpoint.

    Raises:
        MlflowException: The store has no such run, or does not answer.
    """
    run = client.get_run(run_id)
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    fields = ("name", "digest", "profile")

    # what a training of an older version has not left
    scores = ""
    if SCORES in [file.path for file in client.list_artifacts(run_id)]:
        with tempfile.TemporaryDirectory() as folder:
            scores = Path(client.download_artifacts(run_id, SCORES, folder)).read_text().strip()
    shortcuts = None
    if SHORTCUTS in tags:
        shortcuts = [] if tags[SHORTCUTS] == NO_SHORTCUT else tags[SHORTCUTS].splitlines()

    return ModelFacts(
        experiment,
        run_id,
        int(tags["best_epoch"]) if "best_epoch" in tags else None,
        scores,
        [{name: str(getattr(entry.dataset, name)) for name in fields} for entry in inputs],
        shortcuts,
        linked_metrics(experiment, run.data.metrics),
    )


def linked_metrics(experiment: Experiment, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics that describe a network's quality -> the source that each was measured on.

    All finite scores of the test, and of the validation the main ones.

    Args:
        experiment: What was trained.
        metrics: Of the run, by key.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> demo = load_experiment(SHIPPED / "demo.yaml")
        >>> linked_metrics(demo, {"test/nodule/auroc": 0.7, "test/pi_score": 2.5, "val/covidx/loss": 0.3, "lr": 0.1})
        {'test/nodule/auroc': 'nih', 'test/pi_score': 'wacxr', 'val/covidx/loss': 'covidx'}
    """
    pairs = experiment.data.pairs
    measured_on = {}
    for key in _quality_keys(metrics):
        split, *subjects = key.split("/")
        task = next((experiment.tasks[name] for name in subjects[:2] if name in experiment.tasks), None)
        named = pairs.sources_of(split)
        if task:
            measured_on[key] = task.source
        elif named:
            measured_on[key] = named[0]
    return measured_on


def _quality_keys(metrics: Mapping[str, float]) -> Iterable[str]:
    for key, value in metrics.items():
        split, _, rest = key.partition("/")
        main = rest in _VAL_SCORES or rest.partition("/")[2] in _VAL_SCORES
        if isfinite(value) and "/confusion/" not in key and (split == "test" or (split == "val" and main)):
            yield key
