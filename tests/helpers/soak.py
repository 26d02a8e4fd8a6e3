"""Imported by name in the soak's trainings: what the process holds, epoch by epoch, and what its start takes."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import psutil
from lightning.pytorch import Callback, LightningModule, Trainer

COLUMNS = ("epoch", "rss", "workers", "files", "threads", "children", "database", "spool")  # bytes, and numbers


class Watch(Callback):
    """Writes a line to ``soak.csv`` at every epoch's start: resident bytes, the loader workers' own, open files ..."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        process = psutil.Process()
        children = process.children(recursive=True)
        with Path("soak.csv").open("a", newline="") as file:
            csv.writer(file).writerow(
                (
                    trainer.current_epoch,
                    process.memory_info().rss,
                    sum(child.memory_full_info().uss for child in children),
                    process.num_fds(),
                    process.num_threads(),
                    len(children),
                    sum(path.stat().st_size for path in Path("mlruns").glob("mlflow.db*")),
                    sum(_size(path) for path in Path("mlruns/spool").glob("*/events.jsonl")),
                )
            )


class Start(Callback):
    """Writes a line to ``start.csv`` before the first step: seconds since the process began, and what it has read."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        process = psutil.Process()
        done = process.io_counters()
        with Path("start.csv").open("a", newline="") as file:
            csv.writer(file).writerow((time.time() - process.create_time(), done.read_count, done.read_chars))


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # sent meanwhile
        return 0
