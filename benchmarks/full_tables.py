"""All three training data sets with as many rows as the published ones, their files a few small pictures and a hole."""

from __future__ import annotations

import csv
import json
import random
import uuid
from pathlib import Path

from nih_table import IMAGES, write_film, write_tree

from datamodules.demo.write import write_demo

RSNA, POSITIVE, COVIDX = 26_684, 6_012, 15_000  # images; of RSNA's those with boxes; about as many as COVIDx 3 has
PADDING = b"\xfc\xff\xfc\xffOB\0\0" + (1 << 20).to_bytes(4, "little")  # DICOM's trailing padding: more than follows


def write_full(root: Path, rows: int = IMAGES) -> None:
    """NIH with so many rows below ``root``, RSNA and COVIDx in proportion, on overlapping patients as in the originals.

    RSNA's images are NIH's by its mapping; COVIDx takes its normal and pneumonia images from RSNA.
    """
    write_demo(root / "sample", seed=0, size=64, patients=48)
    picture = next((root / "sample" / "nih").rglob("*.png"))
    scan = next((root / "sample" / "rsna").rglob("*.dcm"))
    nih = write_tree(root / "nih", rows, picture.read_bytes())
    draw = random.Random(1)
    films = {str(uuid.UUID(int=draw.getrandbits(128))): name for name in draw.sample(nih, rows * RSNA // IMAGES)}
    _write_rsna(root / "rsna", films, scan)
    _write_covidx(root / "covidx", list(films)[: rows * COVIDX // IMAGES], picture)


def _write_rsna(root: Path, films: dict[str, str], scan: Path) -> None:
    folder = root / "stage_2_train_images"
    folder.mkdir(parents=True)
    labels: list[tuple] = [("patientId", "x", "y", "width", "height", "Target")]
    classes = [("patientId", "class")]
    content = scan.read_bytes() + PADDING
    for i, name in enumerate(films):
        write_film(folder / f"{name}.dcm", content)
        positive = i * POSITIVE // RSNA != (i + 1) * POSITIVE // RSNA
        for _ in range(2 if positive and i % 2 else 1):
            labels.append((name, 10, 20, 15, 20, 1) if positive else (name, "", "", "", "", 0))
            classes.append((name, "Lung Opacity" if positive else ("Normal", "No Lung Opacity / Not Normal")[i % 2]))
    for name, rows in {"stage_2_train_labels": labels, "stage_2_detailed_class_info": classes}.items():
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    mapping = [{"subset_img_id": name, "img_id": image, "orig_labels": []} for name, image in films.items()]
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping))


def _write_covidx(root: Path, films: list[str], picture: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for folder in ("train", "test"):
        (root / folder).mkdir(parents=True)
    pixels = picture.read_bytes()
    for i, film in enumerate(films):
        split = "test" if i % 10 == 0 else "val" if i % 10 == 1 else "train"
        kind, patient = ("COVID-19", f"p{i}") if i % 30 < 3 else (("normal", "pneumonia")[i % 2], film)
        write_film(root / ("test" if split == "test" else "train") / f"{i}.png", pixels)
        lists[split].append(f"{patient} {i}.png {kind} {'cohen' if kind == 'COVID-19' else 'rsna'}\n")
    for split, lines in lists.items():
        (root / f"{split}_COVIDx.txt").write_text("".join(lines))
