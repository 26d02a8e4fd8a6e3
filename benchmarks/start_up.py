"""From the command to the first optimizer step at full table sizes, against importing the libraries alone.

    python benchmarks/start_up.py [--rows 112120] [--runs 3]

Runs ``covidmt train`` (six tasks on NIH's 112,120 rows, RSNA's 26,684 with their mapping, 15,000 of COVIDx; ResNet-18,
two images of 64 px of each, so that the step itself is short; without ``data.cache``, and with it filled) as a user
does, and notes when the first step is done. The baseline imports the libraries that a plain script for the same job
would: torch, torchvision, lightning, MLflow, pandas, albumentations.
CPU seconds of the command and of what it starts, and wall seconds; in turns, medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from full_tables import write_full
from lightning.pytorch import Callback
from nih_table import IMAGES

IMPORTS = "import torch, torchvision, lightning, mlflow, pandas, albumentations"
TASKS = ["covidx", "rsna_boxes", "infiltration", "effusion", "atelectasis", "nodule"]


class FirstStep(Callback):
    """Ends the process after its first step; its file gets the process's CPU seconds."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """The first step is done."""
        times = os.times()
        Path(self.path).write_text(str(times.user + times.system + times.children_user + times.children_system))
        os._exit(0)


def first_step(folder: Path, *overrides: str) -> tuple[float, float]:
    """CPU and wall seconds."""
    note = folder / "first_step"
    note.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("covidmt")),
        "train",
        "experiments/covidmt_resnet50.yaml",
        "--resume=never",
        f"data.root={folder}",
        "data.image_size=64",
        "data.num_workers=1",
        "data.pairs={test: null, limit: 4}",
        "data.masks={folders: [], segmenter: null}",
        "model={backbone: resnet18, pretrained: false}",
        *(f"tasks.{name}.batch_size=2" for name in TASKS),
        "tracking.system_metrics=false",
        "trainer.num_sanity_val_steps=0",
        f"trainer.callbacks=[{{class_path: start_up.FirstStep, init_args: {{path: {note}}}}}]",
        *overrides,
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if not note.exists():
        sys.exit(done.stdout + done.stderr)
    return float(note.read_text()), wall


def imports() -> tuple[float, float]:
    """CPU and wall seconds of the libraries."""
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=IMAGES)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Path(place).absolute()
        write_full(folder, options.rows)
        cached = f"data.cache={folder / 'cache'}"
        first_step(folder, cached)  # the store and the cache are made
        times: dict[str, list[tuple[float, float]]] = {"imports": [], "first step": [], "first step, cache": []}
        for _ in range(options.runs):
            times["imports"].append(imports())
            times["first step"].append(first_step(folder))
            times["first step, cache"].append(first_step(folder, cached))
    for name, some in times.items():
        cpu, wall = (statistics.median(each) for each in zip(*some, strict=True))
        ratio = statistics.median(a[0] / b[0] for a, b in zip(some, times["imports"], strict=True))
        print(f"{name}: {cpu:.1f} s of CPU time, {wall:.1f} s; {ratio:.2f} times the imports' CPU time")
