r"""One training step of `covidmt train` against a bare PyTorch loop: same network, losses, batch, optimizer.

    python benchmarks/step.py [--network resnet18] [--size 128] [--batch 4] [--steps 60] [--every 5]
    python benchmarks/step.py --device cuda --network resnet50 --size 512 --precision bf16-mixed --channels-last \
        --compile --transition-channels 512 --box-channels 256

Batches are tensors in memory (``--batch`` images of each of the three sources, the paper's 4). The one way is a
Trainer with the six-task module, covidmt's callbacks and its MLflow logger on a sqlite store, the other is what a
script would do. They run in turns, ``--every`` steps each, on networks of their own: the bare steps are done in a
callback, and their time is taken out. Then the base network's forward and backward of all images at once, against one
of each source's.

On the CPU the time is the CPU time of the whole process. What the threads beside it compute (the metrics' sender, the
system metrics, the progress bar) is charged to the fit, also what they do in the bare loop's turns. On a GPU it is wall
time, synchronised at the ends of a turn. Medians with 95 % intervals.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from timing import interval, ratio, rounds
from torch.utils.data import DataLoader

from callbacks.epochs.history import MetricHistory
from callbacks.preemption import Preemption
from callbacks.resume import ResumeCheckpoint
from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.trainer import make_trainer
from experiments.batch import Batch, TaskBatch
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Experiment
from lightning_modules.multitask import MultiTaskModule


def batch(n: int, size: int) -> Batch:
    """Make a batch of n images for COVIDx, n for RSNA (a box on every other one), n that NIH's four tasks share."""
    images = torch.randint(0, 256, (3 * n, 1, size, size), dtype=torch.uint8)
    box = torch.tensor([[0.2, 0.3, 0.5, 0.6]]) * size
    tasks = {
        "covidx": TaskBatch(slice(0, n), torch.eye(3)[torch.randint(0, 3, (n,))], []),
        "rsna_boxes": TaskBatch(slice(n, 2 * n), torch.zeros(n, 0), [box if i % 2 else box[:0] for i in range(n)]),
    }
    for name in ("infiltration", "effusion", "atelectasis", "nodule"):
        tasks[name] = TaskBatch(slice(2 * n, 3 * n), torch.randint(0, 2, (n, 1)).float(), [])
    return Batch(images, tasks)


def to_device(item: Batch, device: torch.device) -> Batch:
    """Move a batch, as a script does."""
    tasks = {
        name: TaskBatch(task.rows, task.targets.to(device), [boxes.to(device) for boxes in task.boxes])
        for name, task in item.tasks.items()
    }
    return Batch(item.images.to(device, non_blocking=True), tasks)


class BareLoop:
    """The same network, losses and optimizer, without Lightning, logging and callbacks."""

    def __init__(self, experiment: Experiment, options: argparse.Namespace, batches: list[Batch]) -> None:
        self.module = MultiTaskModule(experiment).to(options.device)
        if options.compile:
            self.module.backbone.compile()
        self.optimizer = torch.optim.Adam(list(self.module.parameters()), experiment.optimizer.lr)
        self.batches = batches
        self.device = torch.device(options.device)
        self.bf16 = options.precision == "bf16-mixed"
        self.late = options.late_zero_grad

    def steps(self, count: int) -> None:
        """Train for a number of steps."""
        for index in range(count):
            item = to_device(self.batches[index % len(self.batches)], self.device)
            if not self.late:
                self.optimizer.zero_grad()

            # forward and loss
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                maps = self.module.features(item.images)
                losses = []
                for name, task in self.module.tasks.items():
                    targets = item.tasks[name]
                    losses.append(task.loss(task([m[targets.rows] for m in maps]), targets))
                loss = torch.stack(losses).mean()

            # backward and update
            if self.late:
                self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def beside() -> float:
    """Return the CPU seconds of all Python threads but the main one."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in others if thread.ident)


class Turns(Callback):
    """Time every ``every`` steps of the fit, and as many of the bare loop after them.

    Attributes:
        ours: Seconds a step of the fit, one a turn.
        plain: Seconds a step of the bare loop, one a turn.
    """

    def __init__(self, bare: BareLoop, every: int, clock: Callable[[], float], beside: Callable[[], float]) -> None:
        self.bare = bare
        self.every = every
        self.clock = clock
        self.beside = beside
        self.ours: list[float] = []
        self.plain: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """End the fit's turn, run the bare loop's, begin the next."""
        if batch_idx % self.every:
            return

        middle, others = self.clock(), self.beside()
        self.bare.steps(self.every)
        end, others = self.clock(), self.beside() - others
        if batch_idx > self.every:  # the first turn warms up
            self.ours.append((middle - self._start + others) / self.every)
            self.plain.append((end - middle - others) / self.every)
        self._start = self.clock()


def benchmark_experiment(options: argparse.Namespace) -> Experiment:
    """Return the six-task experiment with the command line's network and sizes."""
    return load_experiment(
        SHIPPED / "covidmt_resnet50.yaml",
        [
            f"model.backbone={options.network}",
            "model.pretrained=false",
            f"model.channels_last={str(options.channels_last).lower()}",
            f"data.image_size={options.size}",
            f"model.transition_channels={options.transition_channels}",
            f"model.boxes.channels={options.box_channels}",
        ],
    )


def fit_in_turns(
    experiment: Experiment, options: argparse.Namespace, bare: BareLoop, clock: Callable[[], float], folder: Path
) -> tuple[Turns, float]:
    """Run the fit of ``covidmt train`` and the bare loop in turns.

    Returns:
        The times of the turns, and the seconds that writing a checkpoint takes.
    """
    module = MultiTaskModule(experiment)
    if options.compile:
        module.backbone.compile()

    # the callbacks of `covidmt train`
    newest = ResumeCheckpoint(experiment.checkpoint.every_n_steps, experiment.checkpoint.every_minutes)
    newest.folder = folder / "checkpoints"
    best = ModelCheckpoint(folder / "checkpoints", monitor="val/covidx/loss", save_weights_only=True)
    on_gpu = options.device == "cuda"
    turns = Turns(bare, options.every, clock, (lambda: 0.0) if on_gpu else beside)
    callbacks = [newest, Preemption(newest), LearningRateMonitor(), MetricHistory(), best, turns]

    # its Trainer and its logger
    settings = {
        "max_epochs": 1,
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": 1,
        "limit_val_batches": 0,
        "enable_model_summary": False,
        "precision": options.precision,
    }
    trainer = make_trainer(settings, callbacks, folder, background=True)
    logger = MlflowSpoolLogger(experiment.tracking, run_name="step")
    trainer.loggers = [logger]

    # the turns, one more to warm up; a checkpoint
    steps = options.steps + 2 * options.every + 1
    trainer.fit(module, DataLoader([bare.batches[i % 4] for i in range(steps)], batch_size=None))  # ty: ignore
    start = clock()
    newest.save(trainer, "step")
    save = clock() - start
    logger.close()
    return turns, save


def forward_ratio(bare: BareLoop, clock: Callable[[], float]) -> str:
    """Return how much longer a forward and backward of each source's images take than one of all, as a text."""
    net = bare.module
    images = bare.batches[0].images.to(bare.device)

    def forward(*parts: torch.Tensor) -> None:
        for part in parts:
            with torch.autocast(bare.device.type, torch.bfloat16, enabled=bare.bf16):
                maps = net.features(part)
            maps[-1].float().mean().backward()
        net.zero_grad()

    times = rounds({"one": lambda: forward(images), "three": lambda: forward(*images.chunk(3))}, 11, clock)
    return ratio(times, "three", "one")


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Print the fixed cost, the share of the bare loop's speed, and what one forward saves."""
    experiment = benchmark_experiment(options)
    torch.manual_seed(0)
    batches = [batch(options.batch, options.size) for _ in range(4)]
    bare = BareLoop(experiment, options, batches)

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    clock = wall if options.device == "cuda" else time.process_time
    turns, save = fit_in_turns(experiment, options, bare, clock, folder)

    # what a step costs
    n = 3 * options.batch
    compiled = ", compiled" * options.compile + ", channels last" * options.channels_last
    print(f"{options.network}, {n} images of {options.size} px, {options.device}, {options.precision}{compiled}")
    plain, ours = interval([1e3 * s for s in turns.plain]), interval([1e3 * s for s in turns.ours])
    print(f"  ms a step: bare {plain}, ours {ours}")
    pairs = list(zip(turns.plain, turns.ours, strict=True))
    print(f"  fixed cost: {interval([1e3 * (ours - plain) for plain, ours in pairs])} ms a step")
    print(f"  steps a second: {interval([plain / ours for plain, ours in pairs], '.3f')} of the bare loop's")

    # what comes on top of it, and what one forward saves
    every = experiment.checkpoint.every_minutes
    print(f"  apart from this a checkpoint every {every:.0f} minutes, for which the training waits {1e3 * save:.0f} ms")
    longer = forward_ratio(bare, clock)
    print(f"  three forwards and backwards take {longer} times as long as one of all images")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4, help="images of each source")
    parser.add_argument("--transition-channels", type=int, default=64, help="the paper's experiments: 512")
    parser.add_argument("--box-channels", type=int, default=32, help="the paper's experiments: 256")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the base network")
    parser.add_argument(
        "--late-zero-grad", action="store_true", help="in the bare loop after the forward, as Lightning"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=5, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        compare(options, Path(folder))
