"""A user's own table: one row an image, or one a box."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.sources.files import (
    check_labels,
    drop_missing,
    find_file,
    list_images,
    path_below,
    read_csv,
    source_root,
)
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.split import SPLIT_NAMES, close_or_open
from experiments.errors import UserError
from experiments.source_schema import CsvSource


def read_user_csv(source: CsvSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
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
        ...     table = read_user_csv(source, "mine", PatientRegistry(), [])
        >>> table[["patient", "Sick"]].values.tolist()
        [['mine:7', 1.0], ['lyon:3', nan]]
    """
    root = source_root(source, name)
    key = f"data.sources.{name}"

    # the columns that the settings name
    path = find_file(root, source.table, f"{key}.table")
    optional = [source.patient_column, source.split_column, source.label_column]
    columns = [source.image_column, *(c for c in optional if c), *source.labels.values(), *source.box_columns]
    if source.labels and source.label_column:
        raise UserError(f"{key}: 'labels' and 'label_column' exclude each other")
    repeated = [column for column in columns if columns.count(column) > 1]
    if repeated:
        raise UserError(f"{key}: the column {repeated[0]!r} is named for several things")
    rows = read_csv(path, columns, separator=source.separator)
    blank = rows[source.image_column].isna()
    if blank.any():
        raise UserError(f"{path}, line {int(blank.to_numpy().argmax()) + 2}: {source.image_column} is blank")

    # a row of the table each
    images = _locate(rows[source.image_column], root, path)
    files = [os.path.relpath(root / file, root) for file in rows[source.image_column]]  # however the table writes them
    rows = rows.assign(**{source.image_column: files})
    table = pd.DataFrame({"file": files, "image": images, "patient": _people(rows, source, name, patients)})
    table["split"] = close_or_open(_splits(rows, source, path))
    table = table.assign(source=name, origin=name)
    labels = _labels(rows, source, path)
    check_labels(map(str, labels), path)
    table = pd.concat([table, labels], axis=1)
    boxes = _boxes(rows, source, path, key) if source.box_columns else None

    # one row an image
    distinct = table.drop_duplicates().reset_index(drop=True)
    contradicts = distinct["file"].duplicated()
    if contradicts.any():
        file = distinct["file"][contradicts].iloc[0]
        raise UserError(f"{path}: the rows of {file} disagree about patient, split or labels")
    if boxes is not None:
        distinct["boxes"] = distinct["file"].map(boxes)
    return drop_missing(distinct, name, root, notes)


def _locate(files: pd.Series, root: Path, table: Path) -> pd.Series:
    """Find the files by one listing a folder: a question per file is slow on a network file system."""
    paths = [path_below(root, file, f"{table}, line {row + 2}") for row, file in enumerate(files)]
    listings = {folder: list_images(folder) for folder in {path.parent for path in paths}}
    return pd.Series([listings[path.parent].get(path.name) for path in paths], files.index, dtype=object)


def _people(rows: pd.DataFrame, source: CsvSource, name: str, patients: PatientRegistry) -> list[str]:
    files = rows[source.image_column]
    ids = rows[source.patient_column].fillna("").tolist() if source.patient_column else [""] * len(files)
    people = []
    for number, file in zip(ids, files, strict=True):
        if number:
            people.append(number if ":" in number else f"{name}:{number}")
        else:
            people.append(patients.of_stem(Path(file).stem) or f"{name}:{file}")
    return people


def _splits(rows: pd.DataFrame, source: CsvSource, path: Path) -> pd.Series:
    if source.split_column is None:
        return pd.Series(pd.NA, rows.index, dtype="str")
    values = rows[source.split_column].str.strip().str.lower()
    splits = values.map(SPLIT_NAMES)
    _refuse(splits.isna(), rows[source.split_column], path, "train, val or test")
    return splits


def _labels(rows: pd.DataFrame, source: CsvSource, path: Path) -> pd.DataFrame:
    if source.label_column:
        names = rows[source.label_column].str.strip()
        return names.str.get_dummies("|").astype(float).where(names.notna(), np.nan)
    columns = {}
    for label, column in source.labels.items():
        values = pd.to_numeric(rows[column], errors="coerce")
        _refuse(~values.isin([0, 1]) & rows[column].notna(), rows[column], path, "1, 0 or blank (unknown)")
        columns[label] = values.astype(float)
    return pd.DataFrame(columns, index=rows.index)


def _boxes(rows: pd.DataFrame, source: CsvSource, path: Path, key: str) -> dict[str, np.ndarray]:
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

    grouped = corners.astype(np.float32).groupby(rows[source.image_column])
    return {str(file): group.dropna().to_numpy() for file, group in grouped}


def _refuse(wrong: pd.Series, values: pd.Series, path: Path, allowed: str) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(f"{path}, line {row + 2}: {values.name or 'box'} is {values.iloc[row]!r}; allowed: {allowed}")
