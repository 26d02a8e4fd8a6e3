"""A six-task experiment at 64 px, and batches for it."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from experiments.batch import Batch, TaskBatch
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Experiment

SIZE = 64
NIH = ["infiltration", "effusion", "atelectasis", "nodule"]


def experiment(*overrides: str) -> Experiment:
    """The demo's six tasks on an even smaller network."""
    return load_experiment(
        SHIPPED / "demo.yaml",
        [f"data.image_size={SIZE}", "model.transition_channels=8", "model.boxes.channels=8", *overrides],
    )


def batch(seed: int = 0, n: int = 2, known: bool = True) -> Batch:
    """n images for COVIDx, n for RSNA (a box on each even one), n that NIH's four share; or nothing known at all."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (3 * n, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    classes = torch.eye(3)[torch.randint(0, 3, (n,), generator=generator)]
    labels = torch.randint(0, 2, (n, 4), generator=generator).float()
    labels[0, 0] = float("nan")
    corners = torch.rand(n, 4, generator=generator) * 20 + torch.tensor([5, 5, 35, 35])
    boxes = [corners[[i]] if i % 2 == 0 and known else torch.zeros(0, 4) for i in range(n)]
    if not known:
        classes, labels = classes * float("nan"), labels * float("nan")
    tasks = {
        "covidx": TaskBatch(slice(0, n), classes, []),
        "rsna_boxes": TaskBatch(slice(n, 2 * n), torch.zeros(n, 0), boxes),
    }
    tasks |= {name: TaskBatch(slice(2 * n, 3 * n), labels[:, [i]], []) for i, name in enumerate(NIH)}
    return Batch(images, tasks)


def loader(batches: list[Batch]) -> DataLoader:
    """Gives the batches as they are."""
    return DataLoader(batches, batch_size=None)  # ty: ignore[invalid-argument-type]
