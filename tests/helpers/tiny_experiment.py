"""A six-task experiment at 64 px, and batches for it."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from experiments.batch import Batch, TaskBatch
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Experiment

SIZE = 64
NIH = ["infiltration", "effusion", "atelectasis", "nodule"]


def experiment(*overrides: str) -> Experiment:
    """The demo's six tasks on an even smaller network."""
    small = ["model.backbone=timm:test_resnet", "model.transition_channels=8", "model.boxes.channels=8"]
    return load_experiment(SHIPPED / "demo.yaml", [*small, f"data.image_size={SIZE}", *overrides])


PRIVATE = f"""
name: private
data:
  image_size: {SIZE}
  sources: {{covidx: {{kind: covidx, root: covidx}}}}
  pairs: {{test: null}}
tasks: {{covidx: {{source: covidx, labels: [normal, pneumonia, COVID-19], batch_size: 6}}}}
model: {{backbone: "timm:test_resnet", pretrained: false, transition_channels: 8, norm: group}}
"""


def private_experiment(folder: Path, *overrides: str) -> Experiment:
    """One classification task and group normalisation, as privacy needs them; private with ``privacy.*`` overrides."""
    (folder / "private.yaml").write_text(PRIVATE)
    return load_experiment(folder / "private.yaml", overrides)


def covidx_batch(n: int) -> Batch:
    """n images of the COVIDx task alone."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return Batch(pixels, {"covidx": TaskBatch(slice(0, n), torch.eye(3)[[i % 3 for i in range(n)]], [])})


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


def trainer(folder: Path, **settings) -> Trainer:
    """A quiet Trainer of one epoch on the CPU."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    plain = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "num_sanity_val_steps": 0, "logger": False}
    return Trainer(default_root_dir=folder, **{**plain, **quiet, **settings})
