"""COVIDx, COVID-Net's data set of chest X-rays with and without COVID-19.

COVIDx is no download but a recipe: ``create_COVIDx.ipynb`` of the COVID-Net repository (lindawangg/COVID-Net) assembles
it from ieee8023/covid-chestxray-dataset, agchung/Figure1-COVID-chestxray-dataset,
agchung/Actualmed-COVID-chestxray-dataset, the COVID-19 Radiography Database (Kaggle) and the RSNA challenge's images;
from version 8 on also from RICORD (TCIA).

Format:
    Folders ``train/`` and ``test/`` (and ``val/``) of JPEG and PNG files; lists ``train*.txt``, ``test*.txt`` (and
    ``val*.txt``) with a line ``patient file class [source]`` an image. Patients and file names may contain blanks.
Classes:
    normal, pneumonia, COVID-19; in the binary lists positive and negative.
Images:
    They differ from release to release. The COVIDMT paper trains on 7,966 normal, 5,451 pneumonia and 110 COVID-19
    images, and validates on 100, 100 and 25.
Licence:
    The COVID-Net repository is under AGPL-3.0; each of the sources has terms of its own for its images.
Cite:
    L. Wang, Z. Q. Lin, A. Wong: COVID-Net: a tailored deep convolutional neural network design for detection of
    COVID-19 cases from chest X-ray images. Scientific Reports 10, 19549 (2020).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datamodules.reading.listing import FolderImages, scan_folders
from datamodules.sources.files import abbreviate, find_file, read_text, source_root
from datamodules.sources.notes import SourceNotes, drop_missing
from datamodules.sources.patients import PatientRegistry, origin_of
from experiments.errors import UserError
from experiments.source_schema import CovidxSource

LABELS = CovidxSource.published
# The binary lists know COVID-19 or not; what a negative image shows instead is unknown.
_TARGETS = {
    "normal": (1.0, 0.0, 0.0),
    "pneumonia": (0.0, 1.0, 0.0),
    "covid-19": (0.0, 0.0, 1.0),
    "positive": (0.0, 0.0, 1.0),
    "negative": (np.nan, np.nan, 0.0),
}
_SPLITS = ("test", "val", "train")  # an image that stands in two lists belongs to the first


class Line(NamedTuple):
    """A line of a list; ``words`` are patient and file, either of which may contain blanks."""

    words: list[str]
    label: str
    origin: str | None


def read_covidx(source: CovidxSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    r"""Read COVIDx into a sample table with the published split.

    Without a validation list the training rows are ``train_val``. ``origin`` is COVIDx's own sub-source (cohen, rsna,
    sirm, ...).

    Args:
        source: Folder and lists.
        name: The source's name in the YAML.
        patients: Knows RSNA's mapping by now; learns which file shows which patient.
        notes: Gets what a person should know.

    Raises:
        UserError: A missing or ambiguous list, a line without a class, or no image found.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "train").mkdir()
        ...     Path(folder, "train", "COVID 70.png").touch()
        ...     _ = Path(folder, "train.txt").write_text("70 COVID 70.png COVID-19 cohen\n")
        ...     table = read_covidx(CovidxSource(root=folder), "covidx", PatientRegistry(), SourceNotes())
        >>> table[["patient", "split", "normal", "COVID-19"]].values.tolist()
        [['cohen:70', 'train_val', 0.0, 1.0]]
    """
    root = source_root(source, name)

    # what lies there; the lists lie in the root
    folders = [root / folder for folder in ("train", "val", "test")]
    notes.add_others(name, scan_folders(*folders).others, root)

    # all lines of all lists
    lists = {split: _list_file(source, name, root, split) for split in _SPLITS}
    rows = []
    for split, path in lists.items():
        if path is None:
            continue
        files = scan_folders(*(root / folder for folder in (split, "train", "val", "test", ".")))
        published = "train_val" if split == "train" and lists["val"] is None else split
        for line in read_list(path):
            rows.append(_row(line, files, published, patients))
    columns = ["file", "image", "patient", "split", "origin", *LABELS]
    table = drop_missing(pd.DataFrame(rows, columns=columns), name, root, notes)

    # one row an image
    _refuse_contradictions(table, name)
    repeated = table["image"].duplicated()
    if repeated.any():
        names = abbreviate([Path(image).name for image in table.loc[repeated, "image"]])
        notes.append(f"{name}: {repeated.sum()} images are listed twice, the first of test, val, train counts: {names}")
    table = table[~repeated].assign(source=name)

    # patients
    unmapped = int(table["patient"].str.startswith("rsna:").sum())
    if unmapped:
        notes.risks.append(
            f"{name}: {unmapped} images of RSNA origin are not in RSNA's mapping to NIH (data.sources.<rsna>.mapping); "
            "their patients cannot be kept apart from NIH's, nor from each other"
        )
    patients.learn(table["image"], table["patient"])
    return table[["image", "patient", "split", "source", "origin", *LABELS]].reset_index(drop=True)


def _refuse_contradictions(table: pd.DataFrame, name: str) -> None:
    """Refuse an image that stands in several lines with different classes, as far as they know them."""
    known = table.groupby("image")[list(LABELS)].nunique()  # NaN, unknown, is not counted
    wrong = known.index[(known > 1).any(axis=1)]
    if len(wrong):
        raise UserError(
            f"data.sources.{name}: {abbreviate(list(wrong))}: listed several times with different classes; leave one "
            "line of each in the lists"
        )


def read_list(path: Path) -> Iterator[Line]:
    r"""Read the lines of a list of any release, v1 to v9, three-class or binary.

    Raises:
        UserError: A line that has no class where one belongs, with its number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.txt")
        ...     _ = path.write_text("70 COVID(70).png COVID-19 sirm\n8 b.png normal\n")
        ...     list(read_list(path))  # doctest: +NORMALIZE_WHITESPACE
        [Line(words=['70', 'COVID(70).png'], label='covid-19', origin='sirm'),
         Line(words=['8', 'b.png'], label='normal', origin=None)]
    """
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        words = text.split()
        for origin_words in (0, 1):  # v1, v2 and parts of v3 to v7 lack the source
            *rest, label = words[: len(words) - origin_words] or [""]
            if label.lower() in _TARGETS and len(rest) >= 2:
                origin = words[-1].lower() if origin_words else None
                yield Line(rest, label.lower(), "rsna" if origin == "rnsa" else origin)
                break
        else:
            if words:
                expected = "'patient file class [source]', class normal, pneumonia, COVID-19, positive or negative"
                raise UserError(f"{path}, line {number}: {text!r} is not {expected}")


def _list_file(source: CovidxSource, name: str, root: Path, split: str) -> Path | None:
    pattern = getattr(source, f"{split}_list")
    if pattern is None:
        return None
    optional = split != "train" and any(character in pattern for character in "*?[")
    if optional and not any(path.is_file() for path in root.glob(pattern)):
        return None
    return find_file(root, pattern, f"data.sources.{name}.{split}_list")


def _row(line: Line, files: FolderImages, split: str, patients: PatientRegistry) -> tuple[object, ...]:
    """Make a row; the files themselves tell which words are the patient's and which the file's.

    'COVID 70 COVID(70).png' has a blank in the patient.
    """
    cuts = range(1, len(line.words))
    cut = next((i for i in cuts if files.find(" ".join(line.words[i:]))), 1)
    patient, file = " ".join(line.words[:cut]), " ".join(line.words[cut:])
    stem = Path(file).stem
    origin = line.origin or origin_of(patient, stem)
    person = patients.of_covidx(patient, stem, origin)
    return file, files.find(file), person, split, origin, *_TARGETS[line.label]
