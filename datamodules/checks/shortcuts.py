"""Shortcut risks: what gives a class away besides the disease (source, file format, size)."""

from __future__ import annotations

import pandas as pd

from datamodules.checks.counts import NO_LABEL, class_masks
from datamodules.sources.files import abbreviate
from datamodules.sources.table import label_columns
from experiments.schema import Experiment

# A class is given away where an attribute's values that speak for it hold this much more of its images than of the
# others': always answering by the attribute then has a balanced accuracy of 80 % or more.
GIVEAWAY = 0.6
COMMON_SIZE = 0.05  # sizes of a smaller share (or of under 5 images) count as one, or most would tell their image

_REMEDIES = {
    "file format": "data.augment.jpeg: 0.5 recompresses training images at random, so that JPEG traces tell less.",
    "source": "Judge the model within one source, or on sources that it was not trained on.",
    "size": "All images become data.image_size, but sharpness and proportions remain: look at the overlays.",
}


def giveaways(attribute: str, counts: pd.DataFrame, *, recompressed: bool = False) -> list[str]:
    """Write a sentence for every class that an attribute gives away.

    A class is given away where the values that are more frequent in it than in the others hold at least
    :data:`GIVEAWAY` more of its images than of the others'.

    Args:
        attribute: ``source``, ``file format`` or ``size``.
        counts: Images, class by the attribute's value.
        recompressed: Training images are recompressed at random, against JPEG traces.

    Example:
        >>> counts = pd.DataFrame({"JPEG": {"sick": 9, "well": 1}, "PNG": {"sick": 1, "well": 9}})
        >>> giveaways("file format", counts)[0].split(".")[0]
        'sick is given away by file format: 90% of its images are JPEG, but 10% of the others'
    """
    sentences = []
    for label, row in counts.iterrows():
        others = counts.drop(index=label).sum()
        if label == NO_LABEL or not (row.sum() and others.sum()):
            continue

        # shares of the values that speak for the class
        class_share, other_share = row / row.sum(), others / others.sum()
        speaks = class_share > other_share
        inside, outside = class_share[speaks].sum(), other_share[speaks].sum()
        if inside - outside < GIVEAWAY:
            continue

        values = abbreviate([str(value) for value in counts.columns[speaks]])
        remedy = _REMEDIES[attribute]
        if recompressed and attribute == "file format":
            remedy = "data.augment.jpeg is on against it."
        sentences.append(
            f"{label} is given away by {attribute}: {inside:.0%} of its images are {values}, but {outside:.0%} of the "
            f"others. A network can learn that instead of the disease. {remedy}"
        )
    return sentences


def count_attributes(
    experiment: Experiment, tables: dict[str, pd.DataFrame], files: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Count the primary task's training images, class by value of each attribute.

    Args:
        experiment: Its first active task is the primary one.
        tables: Source -> sample table.
        files: From :func:`~datamodules.checks.files.open_files`.
    """
    task = experiment.active[0]
    table = tables[task.source]
    labels = [label for label in task.labels if label in table] or label_columns(table)

    # the readable training images, with what their files tell
    opened = files[(files["source"] == task.source) & (files["role"] == "image") & (files["problem"] == "")]
    train = table[table["split"] == "train"].merge(opened[["image", "format", "size"]], on="image")
    common = train["size"].map(train["size"].value_counts()) >= max(5, COMMON_SIZE * len(train))
    train["size"] = train["size"].where(common, "other sizes")

    # class by value
    masks = class_masks(train, labels)
    counts = {}
    for attribute, column in (("source", "origin"), ("file format", "format"), ("size", "size")):
        by_class = pd.DataFrame({label: train[column][mask].value_counts() for label, mask in masks.items()})
        counts[attribute] = by_class.fillna(0).astype(int).T
    return counts
