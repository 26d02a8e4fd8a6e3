"""NIH ChestX-ray14 at full size, made of empty files: how long until its sample table is there?

The baseline asks the file system once an image (``Path.exists`` over the twelve folders until it is found), as a
straightforward data set class does. With received copies beside them, as CheXwhatsApp brings them, how long until the
pairs are there? ``python benchmarks/nih_table.py [rows]``
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import zlib
from pathlib import Path

from datamodules.sources.nih import LABELS, NO_FINDING
from datamodules.sources.table import load_tables
from experiments.schema import Data
from experiments.source_schema import NihSource, PairsSource, Source

IMAGES, FOLDERS, TEST = 112_120, 12, 25_596


def write_tree(root: Path, rows: int, picture: bytes = b"") -> list[str]:
    """Entries, lists and files in the published layout; about 3.6 images a patient, as in the original."""
    draw = random.Random(0)
    root.mkdir(exist_ok=True)
    names = [f"{row * 30_805 // IMAGES + 1:08d}_{row % 1000:03d}.png" for row in range(rows)]
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position"]
    for name in names:
        finding = NO_FINDING if draw.random() < 0.54 else "|".join(draw.sample(LABELS, draw.choice((1, 1, 2, 3))))
        lines.append(f"{name},{finding},0,{int(name[:8])},58,M,PA")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines))
    last_train = names[rows - rows * TEST // IMAGES - 1][:8]
    (root / "train_val_list.txt").write_text("\n".join(name for name in names if name[:8] <= last_train))
    (root / "test_list.txt").write_text("\n".join(name for name in names if name[:8] > last_train))
    for folder in range(FOLDERS):
        images = root / f"images_{folder + 1:03d}" / "images"
        images.mkdir(parents=True)
        for name in names[folder::FOLDERS]:
            write_film(images / name, picture)
    return names


def write_film(path: Path, content: bytes) -> None:
    """A file of about a published film's size, equal to no other: a hole with the name in its middle follows."""
    with path.open("wb") as file:
        file.write(content)
        if content:
            size = 300_000 + zlib.crc32(path.name.encode()) % 200_000
            file.seek(size // 2)
            file.write(path.name.encode())
            file.truncate(size)


def find_one_by_one(root: Path, names: list[str]) -> int:
    """The baseline: images found."""
    folders = sorted(root.glob("images_*/images"))
    return sum(any((folder / name).exists() for folder in folders) for name in names)


def main(rows: int = IMAGES) -> None:
    """Print the seconds of the adapter, of the baseline, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = write_tree(root, rows)
        start = time.perf_counter()
        table = load_tables(Data(sources={"nih": NihSource(root=folder)}))["nih"]
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        assert find_one_by_one(root, names) == len(names)
        baseline = time.perf_counter() - start

        # what the phone received
        received = root / "sent" / "received"
        received.mkdir(parents=True)
        for name in names:
            (received / f"{name[:-4]}.jpeg").touch()
        sent = PairsSource(root=f"{folder}/sent", originals=None, labels_of="nih")
        sources: dict[str, Source] = {"nih": NihSource(root=folder), "sent": sent}
        start = time.perf_counter()
        pairs = load_tables(Data(sources=sources), ["sent"])["sent"]
        pair_seconds = time.perf_counter() - start
    splits = table["split"].value_counts().to_dict()
    print(f"{len(table)} images, {table['patient'].nunique()} patients, splits {splits}")
    print(f"read, located and split: {seconds:.2f} s; finding the files one by one alone: {baseline:.2f} s")
    print(f"ratio: {baseline / seconds:.1f}")
    print(f"{len(pairs)} pairs with their labels: {pair_seconds:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
