"""``covidmt ui``: the MLflow UI on the project's own store."""

from __future__ import annotations

import os
import socket
import sys

from covidmt.tracking.store import Store
from experiments.errors import UserError


def open_ui(store: Store, port: int = 5000, host: str = "127.0.0.1") -> None:
    """Become MLflow's server of this store; Ctrl-C ends it. Does not return.

    Args:
        store: The tracking store.
        port: TCP port.
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

    # Without the last part MLflow's UI opens on its pages about language models.
    page = f"http://{host}:{port}/#/experiments?workflowType=machine_learning"
    print(f"MLflow UI on {page} (Ctrl-C ends it)", flush=True)

    # By the environment, not by the arguments, which everybody on the machine can read: a URI may hold a password.
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": store.uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if path is not None:
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = str(path.parent / "artifacts")
    arguments = ["-m", "mlflow", "ui", "--host", host, "--port", str(port), "--workers", "1"]
    os.execve(sys.executable, [sys.executable, *arguments], environment)
