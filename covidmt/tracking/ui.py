"""``covidmt ui``: the MLflow UI on the project's own store."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import quote

from covidmt.tracking.runs.naming import LAST, find_run
from covidmt.tracking.store import Store
from experiments.errors import UserError

PORT = 5000
ADDRESS = f"http://127.0.0.1:{PORT}"  # of the UI, unless somebody chooses another port


def open_ui(store: Store, port: int = PORT, host: str = "127.0.0.1", run: str | None = None) -> None:
    """Become MLflow's server of this store; Ctrl-C ends it. Does not return.

    It prints the address of the newest run's experiment, or of a run.

    Args:
        store: The tracking store.
        port: TCP port.
        run: What :func:`~covidmt.tracking.runs.naming.find_run` takes for a run; None: no run in particular.
        host: Address to listen on: this machine alone by default, since MLflow asks nobody for a password.

    Raises:
        UserError: There is no store yet, the port is taken, or the store is a server, which has its own UI.

    Example:
        >>> from covidmt.tracking.store import Store
        >>> open_ui(Store("https://me:secret@server"))
        Traceback (most recent call last):
        experiments.errors.UserError: https://me:***@server is a server with its own UI: open that address in a browser
    """
    path = store.database
    if store.is_server:
        raise UserError(f"{store} is a server with its own UI: open that address in a browser")
    if path is not None and not path.exists():
        raise UserError(f"no runs yet: {path} does not exist; run `covidmt train` first, in this folder")

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(f"port {port} on {host} cannot be used ({error}): choose another --port") from error

    page = _first_page(store, run)
    print(f"MLflow UI on http://{host}:{port}/{page} (Ctrl-C ends it)", flush=True)

    # By the environment, not by the arguments, which everybody on the machine can read: a URI may hold a password.
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": store.uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), _NO_WORD_OF_WSGI]))
    if path is not None:
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = str(path.parent / "artifacts")
    arguments = ["-m", "mlflow", "ui", "--host", host, "--port", str(port), "--workers", "1"]
    os.execve(sys.executable, [sys.executable, *arguments], environment)


def run_page(experiment_id: str, run_id: str) -> str:
    """Return the part of a run's address behind that of the UI.

    Example:
        >>> run_page("1", "4f0c")
        '#/experiments/1/runs/4f0c?workflowType=machine_learning'
    """
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_TRAINING}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """Return the same of one of a run's artifacts.

    Example:
        >>> artifact_page("1", "4f0c", "evaluation/report.html")
        '#/experiments/1/runs/4f0c/artifacts/evaluation/report.html?workflowType=machine_learning'
    """
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}?{_TRAINING}"


def experiment_page(experiment_id: str) -> str:
    """Return the part of an experiment's address behind that of the UI, with its table of runs.

    Example:
        >>> experiment_page("1")
        '#/experiments/1/runs?workflowType=machine_learning'
    """
    return f"#/experiments/{experiment_id}/runs?{_TRAINING}"


_NO_WORD_OF_WSGI = "ignore::UserWarning:mlflow.server.fastapi_app"  # starlette's, which nobody here can act on
_TRAINING = "workflowType=machine_learning"  # without it MLflow's UI opens on its pages about language models


def _first_page(store: Store, run: str | None) -> str:
    """Return where the UI opens: at a run, else at the experiment of the newest one."""
    if run is not None:
        info = find_run(run, store).info
        return run_page(info.experiment_id, info.run_id)
    try:
        info = find_run(LAST, store).info
    except UserError:  # no run yet
        return f"#/experiments?{_TRAINING}"
    return experiment_page(info.experiment_id)
