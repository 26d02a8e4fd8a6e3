"""What is found out about a trained network afterwards, logged to the run that trained it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidmt.tracking.store import Store
from covidmt.tracking.ui import artifact_page
from experiments.errors import UserError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NOTE = "mlflow.note.content"  # the tag that MLflow shows as a run's description
PAGE = "report.html"
_LINKS = "Evaluated: "


def record_findings(
    store: Store,
    run_id: str | None,
    metrics: Mapping[str, float],
    files: Iterable[Path],
    *,
    prefix: str,
    experiment: str,
    run_name: str,
    charts: str | None = None,
) -> str:
    """Log metrics and files to a run, or to a new one where the run is not known; return its id.

    A page among them, ``report.html``, is linked at the top of the run's description.

    Args:
        store: The tracking store.
        run_id: The run that trained the network; None, or one that the store has not: a new run.
        metrics: Name -> value; what is not finite is left out.
        files: Files and folders; those that do not exist are left out.
        prefix: The artifacts' folder.
        experiment: Of a new run.
        run_name: Of a new run.
        charts: Stands before the metrics' names, by which the UI sorts them; None: the artifacts' folder does.

    Raises:
        UserError: The store does not take them.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    client, now, paths = store.client, time.time_ns() // 1_000_000, [path for path in files if path.exists()]
    try:
        if run_id is None or not _is_active(client, run_id):
            run_id = client.create_run(store.open_experiment(experiment), run_name=run_name).info.run_id
            client.set_terminated(run_id)

        named = {f"{charts or prefix}/{key}": value for key, value in metrics.items() if np.isfinite(value)}
        entries = [Metric(key, value, now, 0) for key, value in named.items()]
        client.log_batch(run_id, metrics=entries)
        for path in paths:
            if path.is_dir():
                client.log_artifacts(run_id, str(path), f"{prefix}/{path.name}")
            else:
                client.log_artifact(run_id, str(path), prefix)
        if PAGE in [path.name for path in paths]:
            run = client.get_run(run_id)
            address = artifact_page(run.info.experiment_id, run_id, f"{prefix}/{PAGE}")
            client.set_tag(run_id, NOTE, link_page(run.data.tags.get(NOTE, ""), Path(prefix).name, address))
    except (MlflowException, OSError) as error:
        folder = paths[0].parent if paths else "."
        raise UserError(
            f"the results are complete in {folder}, but could not be logged: {store.explain(error)}"
        ) from error
    return run_id


def link_page(description: str, name: str, address: str) -> str:
    r"""Return a description that begins with links to pages, this one among them, once.

    Example:
        >>> linked = link_page("**demo**: resnet18", "wacxr-test", "#/a")
        >>> linked
        'Evaluated: [wacxr-test](#/a)\n\n**demo**: resnet18'
        >>> link_page(link_page(linked, "covidx-val", "#/b"), "wacxr-test", "#/c").splitlines()[0]
        'Evaluated: [covidx-val](#/b) · [wacxr-test](#/c)'
    """
    first, _, rest = description.partition("\n\n") if description.startswith(_LINKS) else ("", "", description)
    links = [link for link in first.removeprefix(_LINKS).split(" · ") if link and not link.startswith(f"[{name}](")]
    parts = [_LINKS + " · ".join([*links, f"[{name}]({address})"]), rest]
    return "\n\n".join(part for part in parts if part)


def _is_active(client: MlflowClient, run_id: str) -> bool:
    """Return whether the store has the run, and has not deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False
