"""CheXpert, and CheXphoto, which photographs or alters some of its images: chest X-rays with 14 text-mined findings.

Format:
    ``train.csv``, ``valid.csv`` and, in later releases, ``test.csv``, a line an image: ``Path`` (which begins with the
    release's folder, ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``), ``Frontal/Lateral``,
    ``AP/PA`` and a column a finding: 1, 0, -1 (uncertain) or blank (not mentioned).
Classes:
    The 14 findings of :data:`LABELS`; ``No Finding`` is one of them.
Images:
    CheXpert: 224,316 of 65,240 patients; CheXphoto: 10,507 natural and synthetic photographs of 3,000 patients. The
    patients of both are the same people.
Licence:
    Stanford's research use agreements.
How to get it:
    From Stanford AIMI's pages of CheXpert and CheXphoto, after registration.
Cite:
    J. Irvin et al.: CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert Comparison.
    AAAI 2019. N. A. Phillips et al.: CheXphoto: 10,000+ Photos and Transformations of Chest X-rays for Benchmarking
    Deep Learning Robustness. ML4H 2020.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.reading.many_files import ask_files
from datamodules.sources.files import find_file, path_below, read_csv, source_root
from datamodules.sources.notes import SourceNotes, drop_missing
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.split import close_or_open
from experiments.errors import UserError
from experiments.source_schema import ChexpertSource, Reading

LABELS = ChexpertSource.published
_VALUES = {Reading.unknown: np.nan, Reading.negative: 0.0, Reading.positive: 1.0}
_VIEW, _PROJECTION = "Frontal/Lateral", "AP/PA"


def read_chexpert(source: ChexpertSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    r"""Read CheXpert or CheXphoto into a sample table; lateral views are left out.

    Args:
        source: Folder, tables, and what an uncertain and an unmentioned finding count as.
        name: The source's name in the YAML.
        patients: Not needed: the paths hold the patients.
        notes: Gets what a person should know.

    Raises:
        UserError: No table, a missing column, a value that is none of theirs, or no image found.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     image = Path(folder, "train/patient00003/study1/view1_frontal.jpg")
        ...     image.parent.mkdir(parents=True)
        ...     image.touch()
        ...     header, blanks = ",".join(["Path", *LABELS]), "," * 8
        ...     line = f"CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,,,1.0,,,-1.0{blanks}"
        ...     _ = Path(folder, "train.csv").write_text(f"{header}\n{line}\n")
        ...     table = read_chexpert(ChexpertSource(root=folder), "chexpert", PatientRegistry(), SourceNotes())
        >>> table[["patient", "split", "Cardiomegaly", "Edema", "Fracture"]].values.tolist()
        [['chexpert:patient00003', 'train_val', 1.0, nan, 0.0]]
    """
    root = source_root(source, name)

    # the tables
    tables = {"train": source.train_table, "val": source.valid_table, "test": source.test_table}
    found = {split: path for split, path in tables.items() if path is not None}
    parts = [
        _read_table(find_file(root, pattern, f"data.sources.{name}.{split}_table"), split, root, source)
        for split, pattern in found.items()
        if split == "train" or any(root.glob(pattern))
    ]
    table = pd.concat(parts, ignore_index=True)
    laterals = table.pop("lateral")
    if laterals.any():
        notes.append(f"{name}: {int(laterals.sum()):,} of {len(table):,} listed images are lateral views and left out")
    table = table[~laterals].reset_index(drop=True)

    # what is known of each
    table["image"] = _existing(table["image"])
    table["split"] = close_or_open(table["split"])
    table.insert(3, "source", name)
    table.insert(4, "origin", "chexpert")
    return drop_missing(table, name, root, notes)


def _read_table(path: Path, split: str, root: Path, source: ChexpertSource) -> pd.DataFrame:
    rows = read_csv(path, ["Path", *LABELS], optional=[_VIEW, _PROJECTION])
    people = rows["Path"].fillna("").str.extract(r"(patient\d+)/", expand=False)
    bad = people.isna()
    if bad.any():
        line = int(bad.to_numpy().argmax())
        raise UserError(f"{path}, line {line + 2}: {rows['Path'][line]!r} names no patient (.../patient00001/...)")

    table = pd.DataFrame({"file": rows["Path"], "image": _locate(rows["Path"], root, path)})
    table["patient"] = "chexpert:" + people
    table["split"] = split
    table = pd.concat([table, _labels(rows, path, source)], axis=1)
    if _PROJECTION in rows:
        table["projection"] = rows[_PROJECTION]
    lateral = rows[_VIEW].eq("Lateral") if _VIEW in rows else rows["Path"].str.contains("lateral", case=False)
    return table.assign(lateral=lateral.to_numpy(bool))


def _locate(files: pd.Series, root: Path, path: Path) -> list[str]:
    """Return where the files would lie: the release's folder, with which a path begins, may be the root or in it."""
    first = files.iloc[0].split("/")[0] if len(files) else ""
    cut = "" if (root / first).is_dir() else f"{first}/"
    return [str(path_below(root, file.removeprefix(cut), f"{path}, line {i + 2}")) for i, file in enumerate(files)]


def _existing(images: Iterable[str]) -> list[str | None]:
    """Return the images that are there, None for the others; nearly every one lies in a folder of its own."""
    images = list(images)
    there = ask_files(os.path.isfile, images)
    return [image if is_there else None for image, is_there in zip(images, there, strict=True)]


def _labels(rows: pd.DataFrame, path: Path, source: ChexpertSource) -> pd.DataFrame:
    columns = {}
    for label in LABELS:
        values = pd.to_numeric(rows[label], errors="coerce")
        wrong = ~values.isin([1, 0, -1]) & rows[label].notna()
        if wrong.any():
            line = int(wrong.to_numpy().argmax())
            raise UserError(f"{path}, line {line + 2}: {label} is {rows[label][line]!r}; allowed: 1, 0, -1 or blank")
        values = values.mask(values == -1, _VALUES[source.uncertain])
        columns[label] = values.where(rows[label].notna(), _VALUES[source.unmentioned]).astype(float)
    return pd.DataFrame(columns, index=rows.index)
