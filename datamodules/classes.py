"""What the tasks make of the labels: those that no task uses, rows without one, classes too small to validate on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from datamodules.reading.labels import label_key
from datamodules.sources.table import label_columns
from experiments.schema import SplitPolicy, Task, TaskKind
from metrics.inference.auroc import ENOUGH

FEW = 2  # validation images of a class, below which its scores say nothing
_ALIKE = 0.8  # of two labels' letters, from which one may be a misspelling of the other


def describe_misspellings(tasks: Sequence[Task], tables: dict[str, pd.DataFrame]) -> list[str]:
    """Name each label that no task uses and that is nearly one of a task's, with its rows.

    Args:
        tasks: The active tasks.
        tables: Source -> sample table.

    Example:
        >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "Normal": [1.0, 0.0], "normal": [0.0, 1.0]})
        >>> describe_misspellings([Task("t", "own", labels=["Normal"])], {"own": table})
        ["own: 'normal' (1 row) is used by no task; did you mean 'Normal'?"]
    """
    sentences = []
    for source, used in _used_labels(tasks).items():
        table = tables[source]
        for label, count in _unused_labels(table, used).items():
            remedy = _nearest_label(label, used)
            if remedy:
                sentences.append(f"{source}: {label!r} ({_rows(count)}) is used by no task; {remedy}")
    return sentences


def describe_unused_labels(tasks: Sequence[Task], tables: dict[str, pd.DataFrame]) -> list[str]:
    """List the other labels that no task uses, with their rows; a sentence a source.

    Example:
        >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "Mass": [1.0, 0.0], "Edema": [0.0, 1.0]})
        >>> describe_unused_labels([Task("t", "own", labels=["Mass"])], {"own": table})
        ['own: no task uses Edema (1 row)']
    """
    sentences = []
    for source, used in _used_labels(tasks).items():
        unused = _unused_labels(tables[source], used)
        names = [f"{label} ({_rows(count)})" for label, count in unused.items() if not _nearest_label(label, used)]
        if names:
            sentences.append(f"{source}: no task uses {', '.join(names)}")
    return sentences


def describe_unlabelled(tasks: Sequence[Task], tables: dict[str, pd.DataFrame]) -> list[str]:
    """Count the rows without any known label of a task, which it does not learn from.

    Example:
        >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "sick": [1.0, np.nan]})
        >>> describe_unlabelled([Task("t", "own", labels=["sick"])], {"own": table})
        ['tasks.t: 1 of 2 images of own has no known label of sick; the task leaves it out']
    """
    sentences = []
    for task in tasks:
        table = tables[task.source]
        labels = [label for label in task.labels if label in table]
        if task.kind is TaskKind.boxes or not labels:
            continue
        values = table[labels]
        unknown = values.isna().all(axis=1) if task.kind is TaskKind.multilabel else ~(values == 1).any(axis=1)
        count = int(unknown.sum())
        if count:
            has, them = ("has", "it") if count == 1 else ("have", "them")
            sentences.append(
                f"tasks.{task.name}: {count} of {len(table)} images of {task.source} {has} no known label of "
                f"{', '.join(labels)}; the task leaves {them} out"
            )
    return sentences


def describe_few_validation_images(
    tasks: Sequence[Task], tables: dict[str, pd.DataFrame], policy: SplitPolicy
) -> list[str]:
    """Name the classes with fewer than two validation images: their scores are undefined, or chance.

    Example:
        >>> table = pd.DataFrame({"split": ["train", "val", "val", "val"], "sick": [1.0, 1.0, 0.0, 0.0]})
        >>> describe_few_validation_images([Task("t", "own", labels=["sick"])], {"own": table}, SplitPolicy.stratified)
        ['tasks.t: only 1 validation image is sick: its scores say nothing; give more images, or a larger ...']
    """
    remedy = "give more images, or a larger data.val_fraction"
    if policy is SplitPolicy.patient_disjoint:
        remedy = "data.split_policy=stratified draws every class its share"

    sentences = []
    for task in tasks:
        table = tables[task.source]
        counts = {name: int(np.sum(rows)) for name, rows in _classes(task, table[table["split"] == "val"]).items()}
        for count in range(FEW):
            names = [name for name in counts if counts[name] == count]
            if names:
                number = f"only {count}" if count else "no"
                again = f", only {count} is " if count else ", none is "
                whose = "its" if len(names) == 1 else "their"
                worth = "scores say nothing" if count else "AUROC is undefined"
                each = f"{number} validation image is {again.join(names)}"
                sentences.append(f"tasks.{task.name}: {each}: {whose} {worth}; {remedy}")
    return sentences


def describe_few_patients(task: Task, label: str, table: pd.DataFrame) -> list[str]:
    """Name the splits with too few patients, with a label or without it, to judge a network on; a sentence each.

    Example:
        >>> table = pd.DataFrame({"split": "val", "patient": list("aabc"), "sick": [1.0, 1.0, 0.0, 0.0]})
        >>> describe_few_patients(Task("t", "own", labels=["sick"]), "sick", table)
        ['tasks.t: val has 1 patient with sick and 2 without: fewer than 10 of either cannot judge a network, ...']
    """
    if label not in table:
        return []
    sentences = []
    for split in ("val", "test"):
        known = table[(table["split"] == split) & table[label].notna()]
        positive, negative = (known.loc[known[label] == value, "patient"].nunique() for value in (1, 0))
        if len(known) and min(positive, negative) < ENOUGH:
            sentences.append(
                f"tasks.{task.name}: {split} has {positive} patient{'s' if positive != 1 else ''} with {label} and "
                f"{negative} without: fewer than {ENOUGH} of either cannot judge a network, and an evaluation gives "
                "its AUROC no interval then"
            )
    return sentences


def _classes(task: Task, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return each class of a task -> which rows belong to it."""
    if task.kind is TaskKind.boxes:
        if "boxes" not in table:
            return {}
        has_box = np.array([len(boxes) > 0 for boxes in table["boxes"]], bool)
        return {"with a box": has_box, "without a box": ~has_box}
    classes = {label: (table[label] == 1).to_numpy() for label in task.labels if label in table}
    if task.kind is TaskKind.multilabel:
        classes |= {f"without {label}": (table[label] == 0).to_numpy() for label in classes}
    return classes


def _used_labels(tasks: Sequence[Task]) -> dict[str, list[str]]:
    """Return source -> the labels of its classification tasks."""
    used: dict[str, list[str]] = {}
    for task in tasks:
        if task.kind is not TaskKind.boxes:
            used.setdefault(task.source, []).extend(task.labels)
    return used


def _unused_labels(table: pd.DataFrame, used: Sequence[str]) -> dict[str, int]:
    """Return the labels that occur and that no task uses -> their rows."""
    counts = {label: int((table[label] == 1).sum()) for label in label_columns(table) if label not in used}
    return {label: count for label, count in counts.items() if count}


def _nearest_label(label: str, used: Sequence[str]) -> str:
    """Return what may have been meant; "" where nothing is near."""
    by_key = {label_key(other): other for other in used}
    close = get_close_matches(label_key(label), by_key, n=1, cutoff=_ALIKE)
    if close:
        return f"did you mean {by_key[close[0]]!r}?"
    parts = {label_key(part) for part in re.split(r"[|,;/]", label)}
    if len(parts) > 1 and parts & by_key.keys():
        return "are these several labels? Then set label_separator"
    return ""


def _rows(count: int) -> str:
    return f"{count:,} row" + ("s" if count != 1 else "")
