"""What lies in a demo set: lines of COVIDx's lists, rows of CSV files, grey images."""

import csv
from pathlib import Path

import cv2
import numpy as np


def covidx(root: Path, split: str) -> list[tuple[str, str, str, str]]:
    lines = (root / "covidx" / f"{split}_COVIDx.txt").read_text().splitlines()
    rows = []
    for line in lines:
        patient, rest = line.split(" ", 1)
        name, label, source = rest.rsplit(" ", 2)
        rows.append((patient, name, label, source))
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def grey(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return image
