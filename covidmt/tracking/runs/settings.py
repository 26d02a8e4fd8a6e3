"""With which settings runs were made, and in which two of them differ."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.keys import Values, flatten, parse_yaml

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "experiment.yaml"  # the artifact of a run with its resolved settings


def read_settings(run: Run, store: Store) -> Values:
    """Return the resolved experiment of a run, as plain containers.

    Raises:
        UserError: The run has none.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = store.client.download_artifacts(run.info.run_id, EXPERIMENT, folder)
        except (MlflowException, OSError) as error:
            raise UserError(
                f"run {run.info.run_id}: it has no {EXPERIMENT} in {store}, so its settings are unknown"
            ) from error
        return parse_yaml(Path(path).read_text(encoding="utf-8"), EXPERIMENT)


def setting_differences(first: Values, second: Values) -> list[tuple[str, str, str]]:
    """Return every setting in which two experiments differ: its dotted key and both values, ``-`` where there is none.

    Example:
        >>> one, two = {"seed": 0, "optimizer": {"lr": 0.1}}, {"seed": 1, "optimizer": {"lr": 0.1, "name": "SGD"}}
        >>> setting_differences(one, two)
        [('optimizer.name', '-', 'SGD'), ('seed', '0', '1')]
    """
    one, two = flatten(first), flatten(second)
    texts = [(key, _text(one, key), _text(two, key)) for key in sorted(one.keys() | two.keys())]
    return [(key, left, right) for key, left, right in texts if left != right]


def _text(settings: dict[str, object], key: str) -> str:
    return str(settings[key]) if key in settings else "-"
