"""The sample table of a user's own source: what it lacks is filled in, what is wrong with it is said.

A source needs ``image`` and labels. ``patient``, ``split`` and ``boxes`` make it better: without patients every image
counts as one, without splits they are drawn.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from datamodules.reading.labels import NOT_LABELS
from experiments.errors import UserError, nearest
from experiments.names import printable

_SPLITS = ("train", "val", "test", "train_val")


def complete_table(table: object, name: str) -> pd.DataFrame:
    """Return a sample table with all columns that the rest of covidmt reads.

    Args:
        table: What the source's ``read`` gave: a row an image.
        name: The source's name in the YAML.

    Raises:
        UserError: Naming the first mistake.

    Example:
        >>> rows = pd.DataFrame({"image": ["/data/a.png"], "Edema": [True], "boxes": [[[1, 2, 11, 12]]]})
        >>> table = complete_table(rows, "mine")
        >>> table["patient"][0], float(table["Edema"][0]), table["boxes"][0].tolist(), bool(table["split"].isna().all())
        ('mine:/data/a.png', 1.0, [[1.0, 2.0, 11.0, 12.0]], True)
    """
    begin = f"data.sources.{name}"
    if not isinstance(table, pd.DataFrame):
        raise UserError(f"{begin}: its read() gives a {type(table).__name__}, not a pandas.DataFrame, a row an image")
    if "image" not in table:
        columns = nearest("image", [str(column) for column in table])
        raise UserError(f"{begin}: its table has no column 'image' with the files' paths{columns}")
    if table.empty:
        raise UserError(f"{begin}: its table has no row")
    table = table.reset_index(drop=True)
    table["image"] = _images(table["image"], begin)

    # who, which split, where from
    patients = table["patient"] if "patient" in table else pd.Series(None, table.index, dtype=object)
    table["patient"] = [_patient(who, file, name) for who, file in zip(patients, table["image"], strict=True)]
    table["split"] = _splits(table, begin)
    table["source"] = name
    table["origin"] = table.get("origin", name)

    # labels, boxes
    for column in [each for each in table if each not in NOT_LABELS and is_numeric_dtype(table[each])]:
        table[column] = table[column].astype(float)
        infinite = np.isinf(table[column])
        if infinite.any():
            raise UserError(f"{begin}: label {column!r} is infinite in row {int(np.asarray(infinite).argmax())}")
    if "boxes" in table:
        boxes = [_boxes(row, index, begin) for index, row in enumerate(table["boxes"])]
        table["boxes"] = pd.Series(boxes, dtype=object)
    return table


def _images(column: pd.Series, begin: str) -> list[str]:
    """The files' absolute paths, each once."""
    files = [os.fspath(path) if isinstance(path, str | os.PathLike) else "" for path in column]
    for row, file in enumerate(files):
        if not file:
            raise UserError(f"{begin}: row {row} of its table has no image: {column.iloc[row]!r}")
        if not Path(file).is_absolute():
            raise UserError(f"{begin}: the image {printable(file)} is no full path; join it to self.folder")
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise UserError(f"{begin}: {printable(twice)} has several rows; a row is an image")
    return files


def _patient(who: object, file: str, name: str) -> str:
    """A patient's global id: ``site:number`` as it is, else below the source's name; an image of nobody is its own."""
    if who is None or who is pd.NA or who == "" or (isinstance(who, float) and np.isnan(who)):
        return f"{name}:{file}"
    return str(who) if ":" in str(who) else f"{name}:{who}"


def _splits(table: pd.DataFrame, begin: str) -> pd.Series:
    if "split" not in table:
        return pd.Series(pd.NA, table.index, dtype="str")
    wrong = table["split"].notna() & ~table["split"].isin(_SPLITS)
    if wrong.any():
        raise UserError(f"{begin}: split is {table['split'][wrong].iloc[0]!r}; allowed: train, val, test, or blank")
    return table["split"].astype("str")


def _boxes(boxes: object, row: int, begin: str) -> np.ndarray:
    """(n, 4) float32 x1 y1 x2 y2; none of None."""
    try:
        array = np.asarray([] if boxes is None else boxes, np.float32).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise UserError(f"{begin}: boxes of row {row} are no list of x1, y1, x2, y2: {boxes!r}") from error
    if not np.isfinite(array).all() or (array[:, 2:] <= array[:, :2]).any():
        raise UserError(f"{begin}: boxes of row {row}: x1 < x2 and y1 < y2 in pixels of the file, not {array.tolist()}")
    return array
