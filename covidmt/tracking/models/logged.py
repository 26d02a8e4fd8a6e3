"""A run's network as an MLflow LoggedModel: its files, the run's metrics on the data sets, its name in the registry.

Everything here can be done twice and counts once, as `covidmt.tracking.spool` needs it: a model is found again by its
tag ``covidmt.event``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from covidmt.tracking.models.registry import Candidate, register_version

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Metric, Run
    from mlflow.tracking import MlflowClient

NAME = "network"  # of every run's model
EVENT = "covidmt.event"  # the tag that tells which event made a model


@dataclass(frozen=True)
class ModelEntry:
    """What a LoggedModel says beside its files.

    Attributes:
        card: The model card, Markdown.
        step: Epoch of the weights.
        metrics: Keys of the run's metrics that belong to the weights -> the data set that they were measured on, a name
            among the run's inputs.
        register: Name in the registry; None: it is not registered.
        monitor: The metric of which the lowest makes the best version.
    """

    card: str
    step: int
    metrics: Mapping[str, str] = field(default_factory=dict)
    register: str | None = None
    monitor: str = ""


def deliver_model(client: MlflowClient, run_id: str, folder: Path, entry: ModelEntry, token: str) -> str:
    """Make a LoggedModel of a folder that MLflow can load, and register it; return its id.

    Args:
        client: Of the store.
        run_id: The run that trained it.
        folder: The model's files.
        entry: What is said of it.
        token: Of this delivery: given again, it finds the model that it has made.

    Raises:
        FileNotFoundError: There is no such folder.
        Exception: What the client raises.
    """
    if not folder.is_dir():
        raise FileNotFoundError(str(folder))

    # the model and its files
    run = client.get_run(run_id)
    model = _find_or_create(client, run, token)
    if str(model.status) != "READY":
        _send_files(client, run_id, folder, model)
        client.set_logged_model_tags(model.model_id, {"mlflow.note.content": entry.card})
        model = client.finalize_logged_model(model.model_id, "READY")

    # what the run knows of it
    _link_output(client, run, model.model_id, entry.step)
    points = _metric_points(client, run, entry, model.model_id)
    for start in range(0, len(points), 1000):  # MLflow's limit a request
        client.log_batch(run_id, metrics=points[start : start + 1000])

    if entry.register:
        score = next((point.value for point in points if point.key == entry.monitor), None)
        candidate = Candidate(model.model_id, run_id, model.artifact_location, entry.card, entry.monitor, score)
        register_version(client, entry.register, candidate)
    return model.model_id


def _find_or_create(client: MlflowClient, run: Run, token: str) -> LoggedModel:
    experiment = run.info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"tags.`{EVENT}` = '{token}'")
    if found:
        return found[0]
    tags = {EVENT: token}
    return client.create_logged_model(
        experiment,
        name=NAME,
        source_run_id=run.info.run_id,
        tags=tags,
        params=dict(run.data.params),
        model_type="pyfunc",
    )


def _send_files(client: MlflowClient, run_id: str, folder: Path, model: LoggedModel) -> None:
    """Send the files; the description among them names run and model, which are only known now."""
    from mlflow.models import Model

    description = Model.load(str(folder))
    description.run_id, description.model_id = run_id, model.model_id
    description.artifact_path, description.model_uuid = model.artifact_location, model.model_id
    description.save(str(folder / "MLmodel"))
    client.log_model_artifacts(model.model_id, str(folder))


def _link_output(client: MlflowClient, run: Run, model_id: str, step: int) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step)])


def _metric_points(client: MlflowClient, run: Run, entry: ModelEntry, model_id: str) -> list[Metric]:
    """The run's own points at the weights' epoch, each with the data set that it was measured on."""
    from mlflow.entities import Metric

    inputs = run.inputs.dataset_inputs if run.inputs else []
    digests = {each.dataset.name: each.dataset.digest for each in inputs}
    latest = {metric.key: metric for metric in run.data.to_proto().metrics}

    points = []
    for key, dataset in entry.metrics.items():
        if key not in latest:
            continue
        history = [latest[key]] if latest[key].step == entry.step else client.get_metric_history(run.info.run_id, key)
        name, digest = (dataset, digests[dataset]) if dataset in digests else (None, None)
        points += [
            Metric(
                key, point.value, point.timestamp, point.step,
                model_id=model_id, dataset_name=name, dataset_digest=digest, run_id=run.info.run_id,
            )
            for point in history
            if point.step == entry.step
        ]  # fmt: skip
    return points
