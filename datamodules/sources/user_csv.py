"""A user's own table: one row an image, or one a box."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.reading.boxes import read_frame, refuse_outside
from datamodules.reading.labels import check_labels, split_labels
from datamodules.reading.listing import find_folder, scan_folders
from datamodules.sources.files import find_file, path_below, read_csv, source_root
from datamodules.sources.notes import SourceNotes, drop_missing
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.split import SPLIT_NAMES, close_or_open
from experiments.errors import UserError
from experiments.names import printable
from experiments.source_schema import CsvSource

WORDS = "a column of words is named by label_column"  # the remedy where it is taken for one of 1 and 0


def read_user_csv(source: CsvSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    r"""Read a CSV into a sample table; see :class:`~experiments.schema.CsvSource` for the settings.

    Rows of one image are merged: their boxes are collected, everything else must agree. Without a split column the
    split is drawn. Without a patient column a patient is known where the file name is of a public data set that tells
    it, and any other image counts as a patient of its own. ``site:number`` in the patient column is taken as a global
    id, so that several tables can share patients.

    Args:
        source: Folder, table and its columns.
        name: The source's name in the YAML.
        patients: Knows the patients of public data sets' files.
        notes: Gets what a person should know.

    Raises:
        UserError: A missing column, a value that is not one of those allowed (with its line), or no image found.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("a.png", "b.png"):
        ...         Path(folder, file).touch()
        ...     _ = Path(folder, "mine.csv").write_text("image,who,sick\na.png,7,1\nb.png,lyon:3,\n")
        ...     source = CsvSource(root=folder, table="mine.csv", patient_column="who", labels={"Sick": "sick"})
        ...     table = read_user_csv(source, "mine", PatientRegistry(), SourceNotes())
        >>> table[["patient", "Sick"]].values.tolist()
        [['mine:7', 1.0], ['lyon:3', nan]]
    """
    root = source_root(source, name)
    key = f"data.sources.{name}"

    # the columns that the settings name
    path = find_file(root, source.table, f"{key}.table")
    optional = [source.patient_column, source.split_column, source.label_column]
    columns = [source.image_column, *(c for c in optional if c), *source.labels.values(), *source.box_columns]
    columns += source.attributes.values()
    if source.labels and source.label_column:
        raise UserError(f"{key}: 'labels' and 'label_column' exclude each other")
    repeated = [column for column in columns if columns.count(column) > 1]
    if repeated:
        remedy = f"; {WORDS}" if repeated[0] in source.labels.values() else ""
        raise UserError(f"{key}: the column {repeated[0]!r} is named for several things{remedy}")
    words = [source.label_column] if source.label_column else []
    rows = read_csv(path, columns, separator=source.separator, words=words)
    blank = rows[source.image_column].isna()
    if blank.any():
        raise UserError(f"{path}, line {int(blank.to_numpy().argmax()) + 2}: {source.image_column} is blank")

    # a row of the table each
    paths = [path_below(root, file, f"{path}, line {row + 2}") for row, file in enumerate(rows[source.image_column])]
    images = _locate(paths, root, name, notes)
    files = [os.path.relpath(image or wanted, root) for image, wanted in zip(images, paths, strict=True)]
    rows = rows.assign(**{source.image_column: files})
    table = pd.DataFrame({"file": files, "image": pd.Series(images, dtype=object)})
    table["patient"] = _people(rows, source, name, patients, root, notes)
    table["split"] = close_or_open(_splits(rows, source, path))
    table = table.assign(source=name, origin=name)
    labels = _labels(rows, source, path)
    check_labels([*map(str, labels), *(name for name in source.attributes if name != "projection")], path)
    twice = sorted(source.attributes.keys() & set(labels))
    if twice:
        raise UserError(f"{key}.attributes: {twice[0]!r} is a label too; give one of them another name")
    texts = rows[[*source.attributes.values()]].set_axis([*source.attributes], axis=1)
    table = pd.concat([table, labels, texts], axis=1)
    frame = read_frame(source.frame, key)
    boxes = _boxes(rows, source, path, key, frame) if source.box_columns else None

    # one row an image
    distinct = table.drop_duplicates().reset_index(drop=True)
    contradicts = distinct["file"].duplicated()
    if contradicts.any():
        file = distinct["file"][contradicts].iloc[0]
        raise UserError(f"{path}: the rows of {printable(file)} disagree about patient, split or labels")
    if boxes is not None:
        distinct["boxes"] = distinct["file"].map(boxes)
        if frame:
            distinct["frame"] = [frame] * len(distinct)
    return drop_missing(distinct, name, root, notes)


def _locate(paths: list[Path], root: Path, name: str, notes: SourceNotes) -> list[str | None]:
    """Find the files by one listing a folder: a question per file is slow on a network file system."""
    listings = {folder: scan_folders(find_folder(root, folder)) for folder in {path.parent for path in paths}}
    others = [file for folder, found in listings.items() for file in found.others if folder != root]  # tables lie there
    notes.add_others(name, others, root)
    return [listings[path.parent].find(path.name) for path in paths]


def _people(
    rows: pd.DataFrame, source: CsvSource, name: str, patients: PatientRegistry, root: Path, notes: SourceNotes
) -> list[str]:
    patients.read_ieee8023(root)
    files = rows[source.image_column]
    ids = rows[source.patient_column].fillna("").tolist() if source.patient_column else [""] * len(files)
    people, unknown = [], set()
    for number, file in zip(ids, files, strict=True):
        person = patients.of_stem(Path(file).stem)
        if number:
            people.append(number if ":" in number else f"{name}:{number}")
        else:
            people.append(person or f"{name}:{file}")
            unknown |= set() if person else {file}
    remedy = f"Name the table's column of patients (data.sources.{name}.patient_column)."
    notes.add_unknown_patients(name, len(unknown), files.nunique(), remedy)
    return people


def _splits(rows: pd.DataFrame, source: CsvSource, path: Path) -> pd.Series:
    if source.split_column is None:
        return pd.Series(pd.NA, rows.index, dtype="str")
    values = rows[source.split_column].str.lower()
    splits = values.map(SPLIT_NAMES)
    _refuse(splits.isna(), rows[source.split_column], path, "train, val or test")
    return splits


def _labels(rows: pd.DataFrame, source: CsvSource, path: Path) -> pd.DataFrame:
    if source.label_column:
        return split_labels(rows[source.label_column], source.label_separator)
    columns = {}
    for label, column in source.labels.items():
        values = pd.to_numeric(rows[column], errors="coerce")
        allowed = f"1, 0 or blank (unknown); {WORDS}"
        _refuse(~values.isin([0, 1]) & rows[column].notna(), rows[column], path, allowed)
        columns[label] = values.astype(float)
    return pd.DataFrame(columns, index=rows.index)


def _boxes(
    rows: pd.DataFrame, source: CsvSource, path: Path, key: str, frame: tuple[int, int] | None
) -> dict[str, np.ndarray]:
    if len(source.box_columns) != 4:
        raise UserError(f"{key}.box_columns: four columns x1, y1, x2, y2, not {len(source.box_columns)}")

    texts = rows[source.box_columns]
    corners = texts.apply(pd.to_numeric, errors="coerce")
    for column in source.box_columns:
        _refuse(corners[column].isna() & texts.notna().any(axis=1), texts[column], path, "a number, or all four blank")
    x1, y1, x2, y2 = (corners[column] for column in source.box_columns)
    _refuse(
        corners.isin([np.inf, -np.inf]).any(axis=1), texts.fillna("").agg(", ".join, axis=1), path, "finite numbers"
    )
    _refuse((x2 <= x1) | (y2 <= y1), texts.fillna("").agg(", ".join, axis=1), path, "x1 < x2 and y1 < y2")

    refuse_outside(corners.to_numpy(np.float32), frame, path, key)

    grouped = corners.astype(np.float32).groupby(rows[source.image_column])
    return {str(file): group.dropna().drop_duplicates().to_numpy() for file, group in grouped}  # a row again, one box


def _refuse(wrong: pd.Series, values: pd.Series, path: Path, allowed: str) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(f"{path}, line {row + 2}: {values.name or 'box'} is {values.iloc[row]!r}; allowed: {allowed}")
