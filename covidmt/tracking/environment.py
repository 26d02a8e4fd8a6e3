"""MLflow's settings in the environment, set before MLflow is imported; so this module imports nothing else."""

from __future__ import annotations

import os

MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # a bar for each small file that a report reads
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own seven retries take about four minutes a call; the spool does the retrying
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # a uv.lock in the folder where one works is not the model's
    "MLFLOW_UV_AUTO_DETECT": "false",
}


def set_mlflow_defaults() -> None:
    """Set them for this process and those that it starts, before MLflow is imported; what a person has set stays.

    The command line and a sweep's jobs do it first of all, a library's user by making a :class:`.Store`.
    """
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
