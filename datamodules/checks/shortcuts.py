"""Shortcut risks: what gives a class away besides the disease (source, file format, size)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from datamodules.checks.counts import NO_LABEL, class_masks
from datamodules.sources.files import abbreviate
from datamodules.sources.patients import known_origins
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


class Giveaway(NamedTuple):
    """A class that an attribute's values give away.

    Attributes:
        label: The class.
        values: Those that speak for it, in words.
        inside: Its images that have them.
        images: Its images.
        outside: Other classes' images that have them.
        others: Other classes' images.
    """

    label: str
    values: str
    inside: int
    images: int
    outside: int
    others: int

    def sentence(self, attribute: str, *, recompressed: bool = False) -> str:
        """Write it, with what can be done about it; the arguments are those of :func:`giveaways`."""
        remedy = _REMEDIES[attribute]
        if recompressed and attribute == "file format":
            remedy = "data.augment.jpeg is on against it."
        return (
            f"{self.label} is given away by {attribute}: {self.inside} of its {self.images} images "
            f"({self.inside / self.images:.0%}) are {self.values}, but {self.outside} of the {self.others} others "
            f"({self.outside / self.others:.0%}). A network can learn that instead of the disease. {remedy}"
        )


def find_giveaways(counts: pd.DataFrame) -> list[Giveaway]:
    """Return every class that an attribute gives away.

    A class is given away where the values that are more frequent in it than in the others hold at least
    :data:`GIVEAWAY` more of its images than of the others'.

    Args:
        counts: Images, class by the attribute's value.
    """
    found = []
    for label, row in counts.iterrows():
        others = counts.drop(index=label).sum()
        if label == NO_LABEL or not (row.sum() and others.sum()):
            continue

        # the values that speak for the class
        speaks = row / row.sum() > others / others.sum()
        inside, outside = int(row[speaks].sum()), int(others[speaks].sum())
        if inside / row.sum() - outside / others.sum() >= GIVEAWAY:
            values = abbreviate([str(value) for value in counts.columns[speaks]])
            found.append(Giveaway(str(label), values, inside, int(row.sum()), outside, int(others.sum())))
    return found


def giveaway_of_pairs(found: Sequence[Giveaway], label: str) -> str:
    """Say that the source of pairs tells the answer; empty where it does not.

    Args:
        found: Of pairs with and without the label, by source.
        label: What is decided.

    Example:
        >>> counts = pd.DataFrame({"cohen": {"sick": 25, "not sick": 0}, "nih": {"sick": 0, "not sick": 22}})
        >>> giveaway_of_pairs(find_giveaways(counts), "sick").partition(":")[0]
        'Of these 47 pairs, all 25 labelled sick are from cohen and all 22 others from nih'
    """
    own = next((each for each in found if each.label == label), None)
    if own is None:
        return ""
    whole = own.inside == own.images and not own.outside
    others = next((each for each in found if each.label != label), None)
    where = f"from {others.values}" if whole and others is not None else f"not from {own.values}"
    are = (
        f"all {own.images} labelled {label} are from {own.values} and all {own.others} others {where}"
        if whole
        else f"{own.inside} of {own.images} labelled {label} are from {own.values}, and {own.outside} of "
        f"{own.others} others"
    )
    tell = "cannot tell" if whole else "hardly tell"
    return f"Of these {own.images + own.others} pairs, {are}: these figures {tell} the disease from the source."


def giveaways(attribute: str, counts: pd.DataFrame, *, recompressed: bool = False) -> list[str]:
    """Write a sentence for every class of :func:`find_giveaways`.

    Args:
        attribute: ``source``, ``file format`` or ``size``.
        counts: Images, class by the attribute's value.
        recompressed: Training images are recompressed at random, against JPEG traces.

    Example:
        >>> counts = pd.DataFrame({"JPEG": {"sick": 9, "well": 1}, "PNG": {"sick": 1, "well": 9}})
        >>> giveaways("file format", counts)[0].split(".")[0]
        'sick is given away by file format: 9 of its 10 images (90%) are JPEG, but 1 of the 10 others (10%)'
    """
    return [each.sentence(attribute, recompressed=recompressed) for each in find_giveaways(counts)]


def sole_formats(counts: pd.DataFrame, others: Sequence[str] = ()) -> list[str]:
    """Write a sentence for every class that alone has files of a format, however few.

    Args:
        counts: Images, class by file format.
        others: Sentences of :func:`giveaways`; what they say of a class is not said again.

    Example:
        >>> counts = pd.DataFrame({"PNG": {"sick": 90, "well": 99}, "BMP": {"sick": 9, "well": 0}})
        >>> sole_formats(counts)[0].split(".")[0]
        'sick alone has BMP files: 9 of its 99 images'
    """
    said = [sentence.split(" is given away by file format")[0] for sentence in others if "by file format" in sentence]
    sentences = []
    for kind in counts.columns:
        having = counts.index[counts[kind] > 0]
        if len(having) != 1 or not counts.drop(index=having).to_numpy().sum():
            continue
        label, count = having[0], int(counts.loc[having[0], kind])
        if label in said or (label == NO_LABEL and said):
            continue
        whose = "images that show none of the classes" if label == NO_LABEL else str(label)
        verb = "have" if label == NO_LABEL else "has"
        sentences.append(
            f"{whose} alone {verb} {kind} files: {count} of {'their' if label == NO_LABEL else 'its'} "
            f"{int(counts.loc[label].sum())} images. A network can learn that instead of the disease. "
            f"{_REMEDIES['file format']}"
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
    labels = _primary_labels(experiment, tables)

    # the readable training images, with what their files tell
    opened = files[(files["source"] == task.source) & (files["role"] == "image") & (files["problem"] == "")]
    train = table[table["split"] == "train"].merge(opened[["image", "format", "size"]], on="image")
    common = train["size"].map(train["size"].value_counts()) >= max(5, COMMON_SIZE * len(train))
    train["size"] = train["size"].where(common, "other sizes")
    train["origin"] = known_origins(train)

    # class by value
    columns = {"source": "origin", "file format": "format", "size": "size"}
    return {attribute: _count_by_class(train, labels, column) for attribute, column in columns.items()}


def source_shortcuts(experiment: Experiment, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Write a sentence for every class that the source of its training images gives away; no image is opened.

    Args:
        experiment: Its first active task is the primary one.
        tables: Source -> sample table.
    """
    table = tables[experiment.active[0].source]
    train = table[table["split"] == "train"]
    train = train.assign(origin=known_origins(train))
    return giveaways("source", _count_by_class(train, _primary_labels(experiment, tables), "origin"))


def _primary_labels(experiment: Experiment, tables: dict[str, pd.DataFrame]) -> list[str]:
    task = experiment.active[0]
    table = tables[task.source]
    return [label for label in task.labels if label in table] or label_columns(table)


def _count_by_class(train: pd.DataFrame, labels: list[str], column: str) -> pd.DataFrame:
    masks = class_masks(train, labels)
    counts = pd.DataFrame({label: train[column][mask].value_counts() for label, mask in masks.items()})
    return counts.fillna(0).astype(int).T
