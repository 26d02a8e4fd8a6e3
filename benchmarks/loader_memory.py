"""Does the memory of the loader's workers grow over the epochs, with a table of NIH's 112,120 rows?

    python benchmarks/loader_memory.py [--rows 112120] [--epochs 20] [--workers 2] [--steps 45]

Writes NIH ChestX-ray14 at full size (small pictures, each another file), fills ``data.cache`` (a row an image), goes
through epochs that together show every training row about once. The baseline is the usual data set over a list of
records, with the same sampler: each look at a Python object writes its reference count, and copies the page that it
lies on into the worker.

Figures are sums over all workers in MB: what a worker alone has (``USS``, private pages), its share of anonymous memory
(``Pss_Anon``), and all that counts as its memory, mapped pages of the cache with it (``Rss``); and of the main process.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from nih_table import IMAGES, write_tree
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from datamodules.multitask import MultiTaskDataModule
from datamodules.sampler import Item
from experiments.load import SHIPPED, load_experiment

NIH = ["infiltration", "effusion", "atelectasis", "nodule"]


class Records(Dataset):
    """The baseline: a list of dictionaries, as ``table.to_dict("records")`` gives it."""

    def __init__(self, table: pd.DataFrame, size: int) -> None:
        self.records, self.size = table.to_dict("records"), size

    def __getitem__(self, index: Item) -> tuple[torch.Tensor, torch.Tensor]:
        record = self.records[index.row]
        found = [float(value) for value in record.values() if isinstance(value, float)]
        return torch.zeros(1, self.size, self.size, dtype=torch.uint8), torch.tensor(found)


def memory(pids: Sequence[int]) -> dict[str, float]:
    """MB of all these processes together."""
    sums = {"USS": 0.0, "Pss_Anon": 0.0, "Rss": 0.0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, kilobytes = line.split()[:2]
            key = "USS" if name.startswith("Private_") else name[:-1]
            if key in sums:
                sums[key] += int(kilobytes) / 1024
    return sums


def epochs(loader: DataLoader, count: int) -> list[dict[str, float]]:
    """Memory of the workers and of the main process after each epoch."""
    found = []
    for epoch in range(count):
        loader.batch_sampler.set_epoch(epoch)  # ty: ignore
        for _ in loader:
            pass
        pids = [worker.pid for worker in loader._iterator._workers]  # ty: ignore
        workers, main = memory(pids), memory([os.getpid()])
        found.append({f"workers' {kind}": value for kind, value in workers.items()} | {"main USS": main["USS"]})
    return found


def show(name: str, found: list[dict[str, float]]) -> None:
    """One line for each kind of memory."""
    for kind in found[0]:
        series = [each[kind] for each in found]
        chosen = ", ".join(f"{series[i]:.0f}" for i in sorted({0, 1, 4, 9, 14, len(series) - 1}) if i < len(series))
        print(
            f"  {name}, {kind}: {chosen} (epochs 1, 2, 5, 10, 15, last); last - second {series[-1] - series[1]:+.1f} MB"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=IMAGES)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=45, help="of 96 images, an epoch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as place:
        picture = io.BytesIO()
        Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(picture, "PNG")
        names = write_tree(Path(place) / "nih", options.rows, picture.getvalue())
        os.environ["COLUMNS"] = "80"
        experiment = load_experiment(
            SHIPPED / "covidmt_resnet50.yaml",
            [
                f"data.root={place}",
                f"data.cache={place}/cache",
                f"data.num_workers={options.workers}",
                f"data.epoch_length={options.steps}",
                "data.image_size=32",
                "data.pairs={val: nih, test: null}",
                "data.masks={folders: [], segmenter: null}",
                f"active_tasks={NIH}",
                "robustness={task: effusion, label: Effusion}",
                *(f"tasks.{name}.batch_size=96" for name in NIH),
            ],
        )
        for number, path in enumerate((Path(place) / "nih").rglob("*.png")):
            with path.open("ab") as file:  # after the picture's end: other content, the same pixels
                file.write(number.to_bytes(4))
        datamodule = MultiTaskDataModule(experiment)
        datamodule.setup()
        loader = datamodule.train_dataloader()
        print(f"{options.rows} rows, {options.epochs} epochs of {96 * options.steps} images, {options.workers} workers")
        show("ours", epochs(loader, options.epochs))
        records = Records(datamodule.tables["nih"], 32)
        plain = DataLoader(
            records, batch_sampler=loader.batch_sampler, num_workers=options.workers, persistent_workers=True
        )
        show("records", epochs(plain, options.epochs))
