"""The class of each image of a source: by a task's labels, or by a text column such as its origin."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datamodules.sources.table import attribute_columns
from experiments.errors import UserError, nearest
from experiments.schema import Task

LEAST = 5  # training images that a class must have to be told apart


def task_classes(task: Task, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the classes of the task's labels: question -> (n,) str, "" where unknown.

    One question where every known image has exactly one of several labels; else one a label: has it, has it not.

    Args:
        task: A classification task.
        table: The sample table of its source, with its labels.

    Example:
        >>> table = pd.DataFrame({"well": [1.0, 0.0, None], "sick": [0.0, 1.0, None]})
        >>> task_classes(Task("chest", labels=["well", "sick"]), table)["chest"].tolist()
        ['well', 'sick', '']
        >>> task_classes(Task("sick", labels=["sick"]), table)["sick"].tolist()
        ['not sick', 'sick', '']
    """
    values = table[task.labels].to_numpy(float)
    known = ~np.isnan(values).any(axis=1)
    if len(task.labels) > 1 and (values[known].sum(axis=1) == 1).all():
        names = np.array(task.labels, dtype=object)[values.argmax(axis=1)]
        return {task.name: np.where(known, names, "").astype(np.str_)}

    classes = {}
    for label, column in zip(task.labels, values.T, strict=True):
        names = np.where(column == 1, label, f"not {label}")
        classes[label] = np.where(np.isnan(column), "", names).astype(np.str_)
    return classes


def column_classes(column: str, table: pd.DataFrame, source: str) -> np.ndarray:
    """Return the classes of a text column, (n,) str; "" where it is blank.

    Args:
        column: Its name.
        table: The sample table of the source.
        source: Its name, for the message.

    Raises:
        UserError: No such column.
    """
    columns = attribute_columns(table)
    if column not in columns:
        raise UserError(
            f"--column: source '{source}' has no text column {column!r}{nearest(column, columns)}; "
            f"it has {', '.join(columns)}"
        )
    return table[column].fillna("").to_numpy(dtype=np.str_)


def frequent_classes(classes: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Return the classes with "" in place of those with fewer than :data:`LEAST` training or no test images.

    Args:
        classes: (n,) str.
        split: (n,) str, train, val or test.
    """
    kept = classes.copy()
    for name in set(classes.tolist()) - {""}:
        members = classes == name
        if (members & (split == "train")).sum() < LEAST or not (members & (split == "test")).any():
            kept[members] = ""
    return kept
