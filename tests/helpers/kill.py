"""Trainings that are killed: started quickly (imports are done once, then forked), broken off at a named moment."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import mlflow.store.tracking.sqlalchemy_store
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from mlflow.entities import Run
from torchmetrics import MeanMetric

import covidmt.tracking.store
import covidmt.training.train  # seconds; forked processes have it
from covidmt.cli import main

HOOKS = [
    *("on_train_epoch_start", "on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end"),
    *("on_train_epoch_end", "on_validation_start", "on_validation_batch_end", "on_validation_epoch_end"),
    *("on_validation_end", "on_train_end", "on_test_start", "on_test_batch_end", "on_test_epoch_end", "on_test_end"),
]
_ENV = multiprocessing.get_context("forkserver")
_ENV.set_forkserver_preload([__name__])


class Stop(Callback):
    """Sends its process a signal in a hook, the n-th time that it comes there; in every start of a folder the next one.

    Args:
        points: (hook, n from 1 on, rank of the process that is hit, signal) each; the hook ``write``: in the middle of
            writing a checkpoint.
    """

    def __init__(self, points: list[tuple[str, int, int, int]]) -> None:
        self.points = points
        self.done = Path("points")
        for name in HOOKS:
            setattr(self, name, lambda trainer, *args, name=name, **kwargs: self._reached(name, trainer))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            passed = len(self.done.read_text()) if self.done.exists() else 0
            self.hook, self.left, self.rank, self.signum = [*self.points, ("none", 0, 0, 0)][passed]
        if self.hook == "write":
            torch.save = self._write  # in this process alone

    def _reached(self, name: str, trainer: Trainer) -> None:
        if name == self.hook and trainer.global_rank == self.rank and not trainer.sanity_checking:
            self._count()

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            with self.done.open("a") as file:
                file.write(".")
            os.kill(os.getpid(), self.signum)

    def _write(self, checkpoint: Any, file: Any, **options: Any) -> None:
        if isinstance(file, BytesIO):  # tensors on their way to another process
            torch.serialization.save(checkpoint, file, **options)
            return
        file.write(b"half a checkpoint")
        file.flush()
        self._count()
        file.seek(0)
        file.truncate()
        torch.serialization.save(checkpoint, file)


class Noise(Callback):
    """What only an exact resume gets right: random numbers of all kinds, running means, a torchmetrics mean."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not hasattr(pl_module, "seen"):
            pl_module.seen = MeanMetric()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        drawn = torch.rand(()) + random.random() + np.random.random()
        batch.images.add_((10 * torch.rand_like(batch.images, dtype=torch.float32)).to(torch.uint8))
        pl_module.log("train/drawn", drawn, on_step=True, on_epoch=True, batch_size=batch_idx + 1)
        pl_module.log("train/largest", drawn, on_step=False, on_epoch=True, reduce_fx="max")
        pl_module.seen.update(drawn)
        pl_module.log("train/seen", pl_module.seen, on_step=False, on_epoch=True)


def train(folder: Path, arguments: list[str], processes: int = 1, timeout: float = 500) -> list[int | None]:
    """``covidmt train ARGUMENTS`` in the folder, as torchrun starts it where there are several processes.

    As soon as one process dies of SIGKILL the others are killed too.

    Returns:
        Exit codes, negative where a signal ended the process.
    """
    (folder / "mlruns").mkdir(parents=True, exist_ok=True)
    if not (folder / "mlruns" / "mlflow.db").exists():
        shutil.copyfile(_empty_store(), folder / "mlruns" / "mlflow.db")
    environment = {} if processes == 1 else _torchrun(processes)
    started = [
        _ENV.Process(target=_main, args=(folder, ["train", *arguments], environment, rank)) for rank in range(processes)
    ]
    for process in started:
        process.start()
    end = time.monotonic() + timeout
    while any(process.is_alive() for process in started):
        if time.monotonic() > end or any(process.exitcode == -signal.SIGKILL for process in started):
            for process in started:
                process.kill()
        time.sleep(0.05)
    return [process.exitcode for process in started]


def start(folder: Path, arguments: list[str]) -> Any:
    """``covidmt ARGUMENTS`` in the folder, as a process that is not started yet; it appends to ``log-0.txt`` there."""
    return _ENV.Process(target=_main, args=(folder, arguments, {}, 0))


@cache
def _empty_store() -> Path:
    """Made once: that takes longer than a training here."""
    path = Path(tempfile.mkdtemp()) / "mlflow.db"
    covidmt.tracking.store.Store(f"sqlite:///{path}").prepare()
    return path


def _torchrun(processes: int) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    counts = dict.fromkeys(["WORLD_SIZE", "LOCAL_WORLD_SIZE"], str(processes))
    return counts | {
        "TORCHELASTIC_RUN_ID": "t",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _main(folder: Path, arguments: list[str], environment: dict[str, str], rank: int) -> None:
    multiprocessing.set_start_method("fork", force=True)  # of the loaders' workers, as everywhere
    os.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "COVIDMT_RUN_ID"):
        os.environ.pop(name, None)
    if environment:
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    rank_zero_only.rank = rank
    torch.set_num_threads(1)
    sys.argv = ["covidmt", *arguments]
    log = os.open(f"log-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    main()


def run_status(folder: Path) -> str:
    """As MLflow has it."""
    return _the_run(folder)[1].info.status


def _the_run(folder: Path) -> tuple[mlflow.MlflowClient, Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("covidmt")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that must not depend on how often the training was broken off."""
    client, run = _the_run(folder)
    metrics: Counter[Any] = Counter()
    for key in run.data.metrics:
        if not key.startswith("system/"):
            metrics.update((key, point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))
    pictures = Counter(tuple(file.path.split("+")[:3]) for file in client.list_artifacts(run.info.run_id, "images"))
    checkpoints = folder / "mlruns" / "checkpoints" / run.info.run_id
    last, best = (torch.load(checkpoints / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    return {
        "status": run.info.status,
        "metrics": metrics,
        "pictures": pictures,
        "weights": last["state_dict"],
        "optimizer": last["optimizer_states"],
        "schedulers": last["lr_schedulers"],
        "random": [process["random"] for process in last["resume"]["processes"]],
        "loops": last["loops"]["fit_loop"],
        "best": best["state_dict"],
        "files": sorted(file.name for file in checkpoints.iterdir()),
    }
