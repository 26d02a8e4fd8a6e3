"""A tiny LightningModule and datamodule with what the robustness callbacks need.

``python -m tests.helpers.tiny_module OUT PROCESSES`` validates and tests them, and writes the figures of 5 validation
pairs and 1 test pair to OUT, as the first and as the last process has them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from callbacks.loggers.contracts import LoggedAt, table_file, to_csv
from callbacks.robustness import RobustnessCallback
from experiments.batch import Pair, TaskPairs
from experiments.schema import Robustness, Task, TaskKind

TASK = Task(name="covidx", labels=["normal", "pneumonia", "COVID-19"])
FINDINGS = Task(name="findings", source="other", labels=["nodule", "mass"])
PLACES = Task(name="places", source="other", kind=TaskKind.boxes)
SIZE = 16


class TinyPairs(Dataset):
    """``n`` pairs; the last one has no lung, the first no class."""

    def __init__(self, n: int) -> None:
        rng = torch.Generator().manual_seed(5)
        self.original = torch.randint(0, 256, (n, 1, SIZE, SIZE), generator=rng, dtype=torch.uint8)
        self.received = torch.randint(0, 256, (n, 1, SIZE, SIZE), generator=rng, dtype=torch.uint8)
        self.lung = torch.zeros(n, SIZE, SIZE, dtype=torch.bool)
        self.lung[: max(n - 1, 1), 4:12] = True
        self.labels = np.array([np.nan, *(i % 2 for i in range(1, n))], np.float32)[:n]
        self.ids = [f"chest {i}.png" for i in range(n)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Pair:
        images = (self.original[index], self.received[index])
        return Pair(*images, torch.tensor(self.labels[index]), self.lung[index], id=self.ids[index])  # ty: ignore[invalid-argument-type]  # stacked into a list


class TinyData(L.LightningDataModule):
    def __init__(self, val: int = 5, test: int = 1) -> None:
        super().__init__()
        self.pairs = {"val": TinyPairs(val), "test": TinyPairs(test)}

    def train_dataloader(self):
        images = self.pairs["val"].original
        return DataLoader(TensorDataset(images, torch.arange(len(images)) % 2), batch_size=2, shuffle=True)

    def val_dataloader(self):
        return DataLoader(TensorDataset(torch.arange(2)))

    test_dataloader = val_dataloader

    def pair_dataset(self, split):
        return self.pairs[split]

    def pair_dataloader(self, split):
        assert self.trainer is not None
        share = range(self.trainer.global_rank, len(self.pairs[split]), self.trainer.world_size)
        return DataLoader(Subset(self.pairs[split], share), batch_size=2)


class TinyTaskData(TinyData):
    """The same pairs as two sources: the decision's, and those of two other tasks, whose true boxes are a square."""

    def pair_tasks(self, split):
        return ["covidx", "findings", "places"]

    def task_pair_dataloader(self, split):
        others = [
            TaskPairs(["findings", "places"], False, pair, [f"patient of {name}" for name in pair.id], self.boxes(pair))
            for pair in self.pair_dataloader(split)
        ]
        deciding = [TaskPairs(["covidx"], True, pair, list(pair.id), []) for pair in self.pair_dataloader(split)]
        return [*deciding, *others]

    @staticmethod
    def boxes(pair):
        """A true box in every image but the first of all."""
        square = torch.tensor([[2.0, 2.0, 10.0, 10.0]])
        return [square[: name != "chest 0.png"] for name in pair.id]


class BrightBox(nn.Module):
    """A box task's head: one box of whole pixels, the taller the brighter; its score is the mean of the first map."""

    def forward(self, maps):
        return maps[-1].float().mean(dim=(2, 3))

    def decode(self, output):
        tall = 4 + (100 * output[:, 1]).round() % 8
        edge = torch.full_like(tall, 2.0)
        boxes = torch.stack([edge, edge, edge + 8, edge + tall], dim=1)
        return [{"boxes": box[None], "scores": score[None]} for box, score in zip(boxes, output[:, 0], strict=True)]


class Tiny(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.trunk = nn.Sequential(nn.Conv2d(1, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2))
            conv, linear = nn.Conv2d(6, 6, 3), nn.Linear(6, 3)
            findings = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
        covidx = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
        self.heads = nn.ModuleDict({"covidx": covidx, "findings": findings, "places": BrightBox()})
        self.eval()
        with torch.no_grad():  # so that the decisions differ
            linear.weight.mul_(50)
            linear.bias.sub_(covidx(self.features(TinyPairs(5).original)[-1]).median(dim=0).values + 1e-3)
            findings[-1].weight.mul_(50)
            logits = findings(self.features(torch.cat([TinyPairs(5).original, TinyPairs(5).received]))[-1])
            findings[-1].bias.sub_(logits.sort(dim=0).values[4:6].mean(dim=0))  # half of the images are positive
        self.train()

    def features(self, images):
        return [self.trunk(images.to(next(self.parameters()).dtype) / 255)]

    def head(self, task):
        return self.heads[task]

    def training_step(self, batch, batch_idx):
        images, targets = batch
        maps = self.features(images)
        unused = sum(parameter.sum() * 0 for parameter in self.heads["findings"].parameters())
        return nn.functional.cross_entropy(self.heads["covidx"](maps[-1]), targets) + unused

    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


class Texts(CSVLogger):
    """Writes the tables that it is given where it is told to."""

    def log_rows(self, name: str, table: pd.DataFrame, at: LoggedAt) -> None:
        (Path(self.root_dir) / Path(table_file(name, at)).name).write_text(to_csv(table))


def trainer(**options: Any) -> L.Trainer:
    defaults: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False}
    for feature in ("progress_bar", "model_summary", "checkpointing"):
        defaults[f"enable_{feature}"] = False
    defaults.update(options)
    return L.Trainer(**defaults)


def task_callback() -> RobustnessCallback:
    """A callback for three tasks; boxes of any score count."""
    return RobustnessCallback(Robustness(box_score=0.0), TASK, [TASK, FINDINGS, PLACES])


def main(out: str, processes: str) -> None:
    torch.set_num_threads(1)
    callback, module, data = task_callback(), Tiny(), TinyTaskData()
    options = {"strategy": "ddp", "use_distributed_sampler": False, "logger": Texts(Path(out).parent, name=None)}
    run = trainer(devices=int(processes), callbacks=[callback], **options)
    run.validate(module, data, verbose=False)
    run.test(module, data, verbose=False)
    last = run.strategy.broadcast(callback.last, src=int(processes) - 1)
    if run.is_global_zero:
        Path(out).write_text(json.dumps([callback.last, last]))


if __name__ == "__main__":
    main(*sys.argv[1:])
