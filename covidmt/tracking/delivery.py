"""How the events of a spool reach the tracking store, in as few requests as MLflow allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from covidmt.tracking.models.logged import ModelEntry, deliver_model
from experiments.errors import UserError
from experiments.paths import require_inside

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Event = dict[str, Any]  # a line of ``events.jsonl``, see `covidmt.tracking.spool.Spool.append`
BATCH_POINTS = 1000  # MLflow's limit of metrics a request
BATCH_PAIRS = 100  # MLflow's limit of parameters or tags a request


class Point(NamedTuple):
    """What identifies a logged metric or picture.

    Attributes:
        key: Name.
        step: Step, or epoch.
        timestamp: When it was logged, ms since 1970.
    """

    key: str
    step: int
    timestamp: int


def parse_picture(path: str) -> Point | None:
    """Return which picture a file is: of MLflow's two files a picture the small one, which is written last.

    Args:
        path: A file among a run's artifacts or in a spool.

    Returns:
        None where it is any other file.

    Example:
        >>> from covidmt.tracking.delivery import parse_picture
        >>> parse_picture("images/gradcam~00+step+3+timestamp+1700000000000+0f1e+compressed.webp")
        Point(key='gradcam~00', step=3, timestamp=1700000000000)
        >>> parse_picture("images/gradcam~00+step+3+timestamp+1700000000000+0f1e.png") is None
        True
    """
    name, *rest = Path(path).name.split("+")
    if len(rest) != 6 or rest[::2] != ["step", "timestamp", rest[4]] or rest[5] != "compressed.webp":
        return None
    return Point(name, int(rest[1]), int(rest[3]))


def deliver(client: MlflowClient, run_id: str, folder: Path, events: list[Event]) -> None:
    """Send one event, or several of metrics.

    Args:
        client: Of the store.
        run_id: The run.
        folder: Its spool.
        events: In order.

    Raises:
        UserError: The event names a file outside of the spool.
        Exception: What the client raises (see `refused`).
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    event = events[0]
    match event["op"]:
        case "metrics":
            client.log_batch(run_id, metrics=[Metric(*point) for event in events for point in event["points"]])
        case "params":
            client.log_batch(run_id, params=[Param(key, value) for key, value in event["values"].items()])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in event["values"].items()])
        case "artifact":
            file = require_inside(event["file"], folder / "files", f"{folder}: an artifact's file")
            client.log_artifact(run_id, str(file), event["path"])
        case "inputs":
            client.log_inputs(
                run_id,
                [
                    DatasetInput(Dataset(**dataset["dataset"]), [InputTag(*tag) for tag in dataset["tags"].items()])
                    for dataset in event["datasets"]
                ],
            )
        case "model":
            model = require_inside(event["file"], folder / "files", f"{folder}: a model's folder")
            entry = ModelEntry(**event["entry"])
            deliver_model(client, run_id, model, entry, token=f"{run_id}/{entry.step}")  # a resumed run logs it again
        case "status" if event["status"] in ("RUNNING", "SCHEDULED"):
            client.update_run(run_id, status=event["status"])
        case "status":
            client.set_terminated(run_id, event["status"], event["time"])


def refused(client: MlflowClient, run_id: str, error: Exception) -> bool:
    """Return whether the store will never take the event; False: it may later, also when a deleted run is restored.

    Args:
        client: Of the store.
        run_id: The run.
        error: What `deliver` raised.
    """
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, FileNotFoundError | UserError):
        return True
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return 400 <= error.response.status_code < 500 and error.response.status_code not in (401, 403, 404, 408, 429)
    if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
        return client.get_run(run_id).info.lifecycle_stage == "active"
    return False
