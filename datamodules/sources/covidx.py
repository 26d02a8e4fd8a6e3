"""COVIDx, COVID-Net's data set: lists of ``patient file class [source]`` and the folders train/, test/ (and val/)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datamodules.sources.files import abbreviate, drop_missing, find_file, list_images, read_text, source_root
from datamodules.sources.patients import PatientRegistry, origin_of, squeeze
from experiments.errors import UserError
from experiments.schema import CovidxSource

LABELS = ("normal", "pneumonia", "COVID-19")
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
    """A list's line; ``words`` are patient and file, either of which may contain blanks."""

    words: list[str]
    label: str
    origin: str | None


def read_covidx(source: CovidxSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
    """The sample table with the published split; without a validation list the training rows are ``train_val``.

    ``origin`` is COVIDx's own sub-source (cohen, rsna, sirm, ...).

    Raises:
        UserError: A missing or ambiguous list, a line without a class, or no image found.
    """
    root = source_root(source, name)
    lists = {split: _list_file(source, name, root, split) for split in _SPLITS}
    rows = []
    for split, path in lists.items():
        if path is None:
            continue
        files = list_images(*(root / folder for folder in (split, "train", "val", "test", ".")))
        by_name = {squeeze(file): path for file, path in files.items()}
        published = "train_val" if split == "train" and lists["val"] is None else split
        for line in read_list(path):
            rows.append(_row(line, by_name, published, patients))
    columns = ["file", "image", "patient", "split", "origin", *LABELS]
    table = drop_missing(pd.DataFrame(rows, columns=columns), name, root, notes)
    _refuse_contradictions(table, name)
    repeated = table["image"].duplicated()
    if repeated.any():
        names = abbreviate([Path(image).name for image in table.loc[repeated, "image"]])
        notes.append(f"{name}: {repeated.sum()} images are listed twice, the first of test, val, train counts: {names}")
    table = table[~repeated].assign(source=name)
    unmapped = int(table["patient"].str.startswith("rsna:").sum())
    if unmapped:
        notes.append(
            f"{name}: {unmapped} images of RSNA origin are not in RSNA's mapping to NIH (data.sources.<rsna>.mapping); "
            "their patients cannot be kept apart from NIH's, nor from each other"
        )
    patients.known.update(zip((squeeze(Path(image).stem) for image in table["image"]), table["patient"], strict=True))
    return table[["image", "patient", "split", "source", "origin", *LABELS]].reset_index(drop=True)


def _refuse_contradictions(table: pd.DataFrame, name: str) -> None:
    """An image that stands in several lines must have one class, as far as they know it."""
    known = table.groupby("image")[list(LABELS)].nunique()  # NaN, unknown, is not counted
    wrong = known.index[(known > 1).any(axis=1)]
    if len(wrong):
        raise UserError(
            f"data.sources.{name}: {abbreviate(list(wrong))}: listed several times with different classes; leave one "
            "line of each in the lists"
        )


def read_list(path: Path) -> Iterator[Line]:
    """The lines of a list of any release, v1 to v9, three-class or binary.

    Raises:
        UserError: A line that has no class where one belongs, with its number.
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


def _row(line: Line, files: dict[str, str], split: str, patients: PatientRegistry) -> tuple[object, ...]:
    """Which words are the patient's and which the file's, the files themselves tell: 'COVID 70 COVID(70).png'."""
    cuts = range(1, len(line.words))
    cut = next((i for i in cuts if "".join(line.words[i:]) in files), 1)
    patient, file = " ".join(line.words[:cut]), " ".join(line.words[cut:])
    stem = Path(file).stem
    origin = line.origin or origin_of(patient, stem)
    person = patients.of_covidx(patient, stem, origin)
    return file, files.get(squeeze(file)), person, split, origin, *_TARGETS[line.label]
