"""Many trials logging at once to one tracking store: does everything arrive?

    python benchmarks/tracking_load.py --store postgresql --clients 24
    python benchmarks/tracking_load.py --store sqlite --clients 8

``postgresql``: a real ``mlflow server`` on a real PostgreSQL (Debian: ``apt-get install postgresql``; Python: the extra
``postgresql``), both started here in a temporary folder, the database by the unprivileged user ``postgres`` where this
is run by root. ``sqlite``: the embedded store. Runs are made as a sweep's submitter makes them; every client is a
process that logs like a trial through `covidmt.tracking.logger.MlflowSpoolLogger`: parameters, tags, training
metrics by step,
validation metrics and pictures by epoch, artifacts. Then the database's own rows and the stored files are counted
against what was logged; the exit status is 1 if anything is missing, double or not finished.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.schema import Tracking

TRAIN, VAL, PICTURES, PARAMS = 7, 60, 2, 12  # metrics a step and an epoch, pictures an epoch, parameters


def trial(folder: str, uri: str, run_id: str, number: int, epochs: int, steps: int, pause: float) -> None:
    """What one training logs, without the training."""
    import numpy as np

    from covidmt.tracking.logger import MlflowSpoolLogger
    from covidmt.tracking.untracked import tracked

    os.chdir(folder)
    picture = np.random.default_rng(number).integers(0, 256, (120, 240, 3), np.uint8)
    logger = MlflowSpoolLogger(Tracking(uri=uri, system_metrics=False), run_id=run_id)
    with tracked(logger):
        logger.log_hyperparams({f"parameter_{i}": f"{number}.{i}" for i in range(PARAMS)})
        logger.set_tags({"global_batch": "12", "decoder": "load"})
        logger.log_text_file("name: load\n" * 100, "experiment.yaml")
        for epoch in range(epochs):
            for step in range(epoch * steps, (epoch + 1) * steps):
                logger.log_metrics({f"train/m{i}": step + i / 10 for i in range(TRAIN)}, step=step)
                time.sleep(pause)
            logger.log_metrics({f"val/m{i}": epoch + i / 10 for i in range(VAL)} | {"epoch": epoch}, step=step)
            for index in range(PICTURES):
                logger.log_image(f"gradcam/{index:02d}", [picture], step=epoch)
        logger.log_text_file("id,p_original\n" * 2000, "robustness/test_pairs.csv")
        logger.finalize("success")


def count(database: str, artifacts: Path, runs: list[str], epochs: int, steps: int) -> tuple[dict[str, list[int]], int]:
    """(Expected, arrived) of everything, and how many metric points are wrong or double."""
    import sqlalchemy as sql

    n, listed = len(runs), sql.bindparam("runs", expanding=True)
    with sql.create_engine(database).connect() as connection:

        def ask(query: str) -> list[Any]:
            return list(connection.execute(sql.text(query).bindparams(listed), {"runs": runs}))

        keys = ask(
            "SELECT key, COUNT(*), COUNT(DISTINCT step), MIN(step), MAX(step), SUM(value) FROM metrics "
            "WHERE run_uuid IN :runs GROUP BY run_uuid, key"
        )
        ((params,),) = ask("SELECT COUNT(*) FROM params WHERE run_uuid IN :runs")
        ((finished,),) = ask("SELECT COUNT(*) FROM runs WHERE run_uuid IN :runs AND status = 'FINISHED'")
    wrong = 0
    for key, points, distinct, first, last, total in keys:
        length = epochs * steps if key.startswith("train/") else epochs
        offset = int(key.rpartition("m")[2]) / 10
        expected = length * (length - 1) / 2 + length * offset
        wrong += not (points == distinct == length == last + 1 and first == 0 and abs(total - expected) < 1e-3)
    files = {
        "pictures (PNG)": (epochs * PICTURES, "images/*.png"),
        "thumbnails (WebP)": (epochs * PICTURES, "images/*.webp"),
        "experiment.yaml": (1, "experiment.yaml"),
        "test_pairs.csv": (1, "robustness/test_pairs.csv"),
    }
    found = {
        name: [n * each, sum(len(list(artifacts.glob(f"**/{run}/artifacts/{pattern}"))) for run in runs)]
        for name, (each, pattern) in files.items()
    }
    return {
        "trials finished": [n, finished],
        "metric series": [n * (TRAIN + VAL), len(keys)],
        "metric points": [n * epochs * (steps * TRAIN + VAL), sum(points for _, points, *_ in keys)],
        "parameters": [n * PARAMS, params],
        **found,
    }, wrong


@contextmanager
def embedded(folder: Path) -> Generator[tuple[str, str]]:
    """The tracking URI, and the database's."""
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    yield uri, uri


@contextmanager
def server(folder: Path, workers: int) -> Generator[tuple[str, str]]:
    """``mlflow server`` on PostgreSQL; its URI, and the database's."""
    with postgresql() as database:
        port = free_port()
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": database}
        arguments = ["--artifacts-destination", folder / "mlruns" / "artifacts", "--host", "127.0.0.1", "--port", port]
        with open(folder / "server.log", "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *map(str, arguments), "--workers", str(workers)],
                env=environment, stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            wait_for(port, process, folder / "server.log")
            yield f"http://127.0.0.1:{port}", database
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def postgresql() -> Generator[str]:
    """A fresh PostgreSQL on a socket of its own; the database's URI."""
    found = shutil.which("initdb") or max(glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if found is None:
        sys.exit("PostgreSQL is not here: apt-get install postgresql")
    root = os.geteuid() == 0  # which PostgreSQL refuses
    as_user = ["runuser", "-u", "postgres", "--"] if root else []
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as place:
        if root:
            shutil.chown(place, "postgres")

        def call(program: str, *arguments: str) -> None:
            command = [*as_user, str(Path(found).resolve().with_name(program)), *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=place)

        call("initdb", "-D", f"{place}/data", "-U", "mlflow", "-A", "trust", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={place}"
        call("pg_ctl", "-D", f"{place}/data", "-o", options, "-l", f"{place}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg2://mlflow@/postgres?host={place}"
        finally:
            call("pg_ctl", "-D", f"{place}/data", "-m", "fast", "-w", "stop")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    """Until the server answers."""
    import requests

    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    sys.exit(f"mlflow server does not answer:\n{log.read_text()[-3000:]}")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="an epoch")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two steps")
    parser.add_argument("--workers", type=int, default=2, help="of mlflow server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tracking-load-") as place:
        folder = Path(place)
        os.chdir(folder)
        store = embedded(folder) if options.store == "sqlite" else server(folder, options.workers)
        with store as (uri, database):
            sys.exit(load(folder, uri, database, options))


def load(folder: Path, uri: str, database: str, options: argparse.Namespace) -> int:
    """Runs the clients, counts, prints; the exit status."""
    from covidmt.tracking.sender import sync
    from covidmt.tracking.store import Store

    store = Store(uri)
    store.prepare()
    client, experiment = store.client, store.open_experiment("load")
    parent = client.create_run(experiment, tags={"covidmt.kind": "sweep", "sweep": "load"}).info.run_id
    tags = {"mlflow.parentRunId": parent, "sweep": "load"}
    runs = [client.create_run(experiment, tags=tags).info.run_id for _ in range(options.clients)]
    context = multiprocessing.get_context("forkserver")  # MLflow is imported once for all clients
    context.set_forkserver_preload(["covidmt.tracking.logger", "mlflow.tracking", "mlflow.tracking.multimedia"])
    shared = options.epochs, options.steps, options.pause
    processes = [
        context.Process(target=trial, args=(str(folder), uri, run, number, *shared)) for number, run in enumerate(runs)
    ]
    start = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.monotonic() - start
    failed = sum(process.exitcode != 0 for process in processes)
    late = [run for run in sync(folder / "mlruns" / "spool") if run.sent]
    table, wrong = count(database, folder / "mlruns" / "artifacts", runs, options.epochs, options.steps)
    print(f"{options.clients} clients, {options.store}: {seconds:.0f} s with the clients' start")
    for name, (expected, arrived) in table.items():
        print(f"  {name:<18} {arrived:>8} of {expected}")
    print(f"  {'series with a gap, a double or a wrong value':<46} {wrong}")
    print(f"  {'processes that failed':<46} {failed}")
    print(f"  {'runs whose last events `covidmt sync` sent':<46} {len(late)}")
    lost = wrong or failed or any(expected != arrived for expected, arrived in table.values())
    print("LOST" if lost else "nothing lost")
    return int(bool(lost))


if __name__ == "__main__":
    main()
