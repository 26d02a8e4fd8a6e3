"""How soon a command says something, and from the command to the first optimizer step.

    python benchmarks/start_up.py [--runs 3] [--rows 112120] [--only WORD]

CPU seconds of a command and of what it starts, and wall seconds, as a user calls it; in turns, medians; beside them the
CPU seconds of importing torch and lightning alone, which is the measure of a machine:

* ``--help``, ``train --print-config``, a refusal (an unknown key), ``sweep run --dry-run`` of the paper's 42 trials;
* ``data check`` of the made-up data set, without its segmenter's poses; ``predict`` of one image by an untrained
  ResNet-18 at 128 px, with lungs and Grad-CAM; ``runs`` of an empty store;
* the first step of ``covidmt train``: six tasks on NIH's 112,120 rows, RSNA's 26,684 with their mapping, 15,000 of
  COVIDx; ResNet-18, two images of 64 px of each, so that the step itself is short; without ``data.cache``, and with it
  filled. It is compared with importing what a plain script for the same job would: torch, torchvision, lightning,
  MLflow, pandas, albumentations. ``--rows 0`` leaves it out.
"""

from __future__ import annotations

import argparse
import os
import shutil
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
from serve import write_checkpoint

from covidmt.tracking.store import Store
from datamodules.demo.write import write_demo

BASELINE = "import torch, lightning.pytorch"
IMPORTS = "import torch, torchvision, lightning, mlflow, pandas, albumentations"
COVIDMT = str(Path(sys.executable).with_name("covidmt"))
DEMO = "experiments/demo.yaml"
SHORT = {
    "--help": ["--help"],
    "train --print-config": ["train", DEMO, "--print-config"],
    "refusal": ["train", DEMO, "optimiser.lr=1"],
    "sweep run --dry-run": ["sweep", "run", "experiments/sweeps/ablation_task_count.yaml", "--dry-run"],
    "runs": ["runs"],
    "data check": ["data", "check", DEMO, "--poses", "0"],
    "predict": ["predict", "best.ckpt", "demo-data/wacxr/original"],
}
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
        COVIDMT,
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


def measure(command: list[str], folder: Path, expected: int = 0) -> tuple[float, float]:
    """CPU and wall seconds of a command."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    after = os.times()
    if done.returncode != expected:
        sys.exit(done.stdout + done.stderr)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - start


def imports(what: str) -> tuple[float, float]:
    """CPU and wall seconds of importing libraries."""
    return measure([sys.executable, "-c", what], Path.cwd())


def prepare(folder: Path) -> None:
    """Made-up data, one image of it to predict, an untrained network, and a store."""
    write_demo(folder / "demo-data", seed=0)
    write_checkpoint(folder / "best.ckpt")
    image = next(path for path in sorted((folder / "demo-data" / "covidx").rglob("*.png")))
    SHORT["predict"][2] = str(image)
    (folder / "mlruns").mkdir()
    Store(f"sqlite:///{folder}/mlruns/mlflow.db").prepare()


def time_commands(folder: Path, runs: int, word: str) -> None:
    """Print how soon the commands are done."""
    chosen = {name: [COVIDMT, *arguments] for name, arguments in SHORT.items() if word in name}
    times: dict[str, list[tuple[float, float]]] = {"import torch, lightning": [], **{name: [] for name in chosen}}
    for _ in range(runs):
        times["import torch, lightning"].append(imports(BASELINE))
        shutil.rmtree(folder / "predictions", ignore_errors=True)  # of the round before
        for name, command in chosen.items():
            times[name].append(measure(command, folder, 2 if name == "refusal" else 0))
    print_times(times, "import torch, lightning")


def time_first_steps(folder: Path, rows: int, runs: int) -> None:
    """Print how soon the first step is done."""
    write_full(folder, rows)
    cached = f"data.cache={folder / 'cache'}"
    first_step(folder, cached)  # the store and the cache are made
    times: dict[str, list[tuple[float, float]]] = {"imports": [], "first step": [], "first step, cache": []}
    for _ in range(runs):
        times["imports"].append(imports(IMPORTS))
        times["first step"].append(first_step(folder))
        times["first step, cache"].append(first_step(folder, cached))
    print_times(times, "imports")


def print_times(times: dict[str, list[tuple[float, float]]], baseline: str) -> None:
    """Print medians, and the median ratio of CPU times to the baseline's of the same round."""
    for name, some in times.items():
        cpu, wall = (statistics.median(each) for each in zip(*some, strict=True))
        ratio = statistics.median(a[0] / b[0] for a, b in zip(some, times[baseline], strict=True))
        print(
            f"{name}: {cpu:.2f} s of CPU time, {wall:.2f} s; {ratio:.2f} times the CPU time of {baseline}", flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=IMAGES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="a part of a command's name; no other is timed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        prepare(Path(place).absolute())
        time_commands(Path(place).absolute(), options.runs, options.only)
    if options.rows and options.only in "first step":
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
            time_first_steps(Path(place).absolute(), options.rows, options.runs)
