"""``covidmt data check``: what is in the data sets, and what would spoil a training on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datamodules.dataset import outside
from datamodules.groups import batch_groups
from datamodules.images.decode import decode
from datamodules.sources.files import abbreviate
from datamodules.sources.split import SPLITS, ranked, shared_patients
from datamodules.sources.table import assemble, label_columns
from experiments.errors import UserError
from experiments.schema import Experiment, SplitPolicy

NO_LABEL = "(none of these)"
# A class is given away where an attribute's values that speak for it hold this much more of its images than of the
# others': always answering by the attribute then has a balanced accuracy of 80 % or more.
GIVEAWAY = 0.6
_NONE = pd.Series(dtype=object)
COMMON_SIZE = 0.05  # sizes of a smaller share (or of under 5 images) count as one, or most would tell their image

_PAPER = {  # main paper, Materials and methods
    "covidx": {
        ("train", "normal"): 7966,
        ("train", "pneumonia"): 5451,
        ("train", "COVID-19"): 110,
        ("val", "normal"): 100,
        ("val", "pneumonia"): 100,
        ("val", "COVID-19"): 25,
    },
    "wacxr": {("test", NO_LABEL): 1750, ("test", "COVID-19"): 4812},
    "rsna": {
        ("all", "images"): 26_684,
        ("all", "label rows"): 30_227,
        ("train", "label rows"): 22_638,
        ("val", "label rows"): 7_589,
    },
    "nih": {("all", "images"): 112_120, ("all", "categories above 5 %"): 5},
}
_REMEDIES = {
    "file format": "data.augment.jpeg: 0.5 recompresses training images at random, so that JPEG traces tell less.",
    "source": "Judge the model within one source, or on sources that it was not trained on.",
    "size": "All images become data.image_size, but sharpness and proportions remain: look at the overlays.",
}


@dataclass
class CheckReport:
    """Findings of :func:`check`.

    Attributes:
        counts: A row for each source and class: images in train, val, test, left out (patient in another split).
        paper: Quantity, the paper's figure, as listed by the data set (NA: it publishes no splits), as used by this
            experiment.
        shortcuts: Attribute (source, file format, size) -> images of the primary task's training split, class by value.
        unreadable: Image, source, problem.
        duplicates: Groups of images with the same pixels: kind, images, sources, splits, files.
        shared: Patients in more than one split.
        opened: How many of how many files were opened.
        notes: Worth knowing.
        risks: What a network may learn instead of the disease.
        errors: What would stop or spoil a training.
    """

    counts: pd.DataFrame
    paper: pd.DataFrame
    shortcuts: dict[str, pd.DataFrame]
    unreadable: pd.DataFrame
    duplicates: pd.DataFrame
    shared: pd.DataFrame
    opened: tuple[int, int]
    notes: list[str] = field(default_factory=list)
    risks: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def check(
    experiment: Experiment,
    *,
    limit: int | None = None,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda items, total: items,
) -> CheckReport:
    """Read every table, open the images and look for what would spoil a training. Prints nothing.

    Args:
        experiment: Its sources are checked; those of its active tasks must be there.
        limit: Open at most so many images of each source's classes; None: all.
        progress: Wraps the iteration over the files (items, total), such as ``rich.progress.track``.

    Raises:
        UserError: A source of an active task cannot be read.
    """
    data = experiment.data
    assembly = assemble(data, {task.source for task in experiment.active} | {data.pairs.val})
    tables = {name: table[table["split"].notna()] for name, table in assembly.tables.items()}
    facts = _open_files(tables, limit, progress)
    total = sum(len(table) * (1 + ("received" in table)) for table in tables.values())
    duplicates = _duplicates(facts)
    shared = shared_patients(tables)
    unreadable = facts.loc[facts["problem"] != "", ["image", "source", "problem"]].reset_index(drop=True)
    report = CheckReport(
        counts=_counts(assembly.tables),
        paper=_compare(assembly.tables, {name: data.sources[name].kind for name in tables}),
        shortcuts=_shortcuts(experiment, tables, facts),
        unreadable=unreadable,
        duplicates=duplicates,
        shared=shared,
        opened=(len(facts), total),
        notes=assembly.notes,
    )
    report.risks = [risk for attribute, table in report.shortcuts.items() for risk in giveaways(attribute, table)]
    if data.augment.jpeg:
        report.risks = [
            r.replace(_REMEDIES["file format"], "data.augment.jpeg is on against it.") for r in report.risks
        ]
    report.errors += _task_errors(experiment, tables)
    report.notes += _undefined(experiment, tables)
    if len(unreadable):
        report.errors.append(f"{len(unreadable)} unreadable images: {abbreviate(unreadable['image'])}")
    if boxed := _outside(tables, facts):
        report.errors.append(f"{len(boxed)} images have boxes outside of their pixels: {abbreviate(boxed)}")
    leaks = report.errors if data.split_policy is not SplitPolicy.paper else report.notes
    if len(shared) and leaks is report.errors:  # under the paper's policy the notes say so already
        leaks.append(f"{len(shared)} patients are in more than one split: {abbreviate(shared['patient'])}")
    for kind, groups in duplicates.groupby("kind"):
        sink = leaks if kind == "across splits" else report.notes
        sink.append(f"{len(groups)} images occur more than once {kind}: {abbreviate(groups['files'])}")
    return report


def class_masks(table: pd.DataFrame, labels: list[str]) -> dict[str, pd.Series]:
    """Label -> its positive rows, and ``(none of these)`` -> rows without a positive label."""
    masks = {label: table[label] == 1 for label in labels}
    none = ~pd.DataFrame(masks, index=table.index).any(axis=1)
    return {**masks, NO_LABEL: none} if none.any() else masks


def giveaways(attribute: str, table: pd.DataFrame) -> list[str]:
    """A sentence for every class that the attribute gives away; ``table`` counts images, class by value."""
    sentences = []
    for label, row in table.iterrows():
        others = table.drop(index=label).sum()
        if label == NO_LABEL or not (row.sum() and others.sum()):
            continue
        own_share, other_share = row / row.sum(), others / others.sum()
        speaks = own_share > other_share
        own, other = own_share[speaks].sum(), other_share[speaks].sum()
        if own - other >= GIVEAWAY:
            values = abbreviate([str(value) for value in table.columns[speaks]])
            sentences.append(
                f"{label} is given away by {attribute}: {own:.0%} of its images are {values}, but {other:.0%} of the "
                f"others. A network can learn that instead of the disease. {_REMEDIES[attribute]}"
            )
    return sentences


def print_report(report: CheckReport, console: Console) -> None:
    """Print a report for a person."""
    _print(console, "Images per split", report.counts)
    _print(console, "Beside the paper", report.paper)
    for attribute, table in report.shortcuts.items():
        _print(console, f"Class by {attribute}, training split of the primary task", table.reset_index(names="class"))
    _print(console, "Unreadable images", report.unreadable.head(20))
    across = report.duplicates[report.duplicates["kind"] != "across sources"]
    _print(console, "Duplicates", across[["kind", "splits", "files"]].head(20))
    _print(console, "Patients in several splits", report.shared.head(10))
    opened, total = report.opened
    console.print(f"{opened} of {total} image files opened")
    for style, title, lines in (
        ("cyan", "note", report.notes),
        ("yellow", "shortcut risk", report.risks),
        ("red", "problem", report.errors),
    ):
        for line in lines:
            console.print(f"[{style}]{title}:[/] ", end="")
            console.print(line, markup=False, highlight=False)
    if not report.errors:
        console.print("[green]no problem found[/]")


def _open_files(tables: dict[str, pd.DataFrame], limit: int | None, progress: Callable[..., Any]) -> pd.DataFrame:
    """One row a file opened: image, source, split, role (image or received), and what :func:`_inspect` tells."""
    rows = []
    for name, table in tables.items():
        chosen = table if limit is None else table[table["image"].isin(_chosen(table, limit))]
        for role in chosen.columns.intersection(["image", "received"]):
            rows.append(pd.DataFrame({"image": chosen[role], "source": name, "split": chosen["split"], "role": role}))
    files = pd.concat(rows, ignore_index=True)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        facts = list(progress(pool.map(_inspect, files["image"]), len(files)))
    return pd.concat([files, pd.DataFrame(facts, columns=["format", "size", "digest", "problem"])], axis=1)


def _chosen(table: pd.DataFrame, limit: int) -> set[str]:
    masks = class_masks(table, label_columns(table)).values()
    return {image for mask in masks for image in ranked(table["image"][mask], seed=0)[:limit]}


def _inspect(path: str) -> tuple[str, str, str, str]:
    """File format, size, digest of the pixels (equal for a DICOM and the PNG made of it), problem."""
    try:
        pixels = decode(path)
    except UserError as error:
        return "", "", "", str(error)
    try:
        with Image.open(path) as picture:
            kind = picture.format or Path(path).suffix
    except OSError:
        kind = "DICOM"
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    return kind, size, blake2b(size.encode() + pixels.tobytes(), digest_size=16).hexdigest(), ""


def _counts(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for name, table in tables.items():
        split = table["split"].fillna("left out")
        everyone = pd.Series(True, table.index)
        for label, mask in {"all images": everyone, **class_masks(table, label_columns(table))}.items():
            rows.append({"source": name, "class": label, **{s: int((mask & (split == s)).sum()) for s in SPLITS}})
            rows[-1]["left out"] = int((mask & (split == "left out")).sum())
        people = {s: table["patient"][split == s].nunique() for s in (*SPLITS, "left out")}
        rows.append({"source": name, "class": "patients", **people})
    return pd.DataFrame(rows)


def _compare(tables: dict[str, pd.DataFrame], kinds: dict[str, str]) -> pd.DataFrame:
    rows = []
    for name, table in tables.items():
        listed = table["published"].replace({"train_val": "train"})
        for (split, quantity), figure in _PAPER.get(kinds[name], {}).items():
            in_list = (listed == split) | (split == "all")
            in_use = table["split"].notna() if split == "all" else table["split"] == split
            here: list[int | None] = [_quantity(table[rows_], quantity) for rows_ in (in_list, in_use)]
            if split != "all" and listed.isna().all():
                here[0] = None
            rows.append((f"{name} {split} {quantity}", figure, *here))
    return pd.DataFrame(rows, columns=["quantity", "paper", "listed", "used"]).astype({"listed": "Int64"})


def _quantity(table: pd.DataFrame, quantity: str) -> int:
    if quantity == "images":
        return len(table)
    if quantity == "label rows":
        return sum(max(1, len(boxes)) for boxes in table["boxes"])
    if quantity.startswith("categories"):
        return int((table[label_columns(table)].mean() > 0.05).sum())
    masks = class_masks(table, label_columns(table))
    return int(masks[quantity].sum()) if quantity in masks else 0


def _shortcuts(experiment: Experiment, tables: dict[str, pd.DataFrame], facts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    task = experiment.active[0]
    table = tables[task.source]
    labels = [label for label in task.labels if label in table] or label_columns(table)
    seen = facts[(facts["source"] == task.source) & (facts["role"] == "image") & (facts["problem"] == "")]
    train = table[table["split"] == "train"].merge(seen[["image", "format", "size"]], on="image")
    common = train["size"].map(train["size"].value_counts()) >= max(5, COMMON_SIZE * len(train))
    train["size"] = train["size"].where(common, "other sizes")
    masks = class_masks(train, labels)
    attributes = {"source": "origin", "file format": "format", "size": "size"}
    counted = {
        attribute: pd.DataFrame({label: train[column][mask].value_counts() for label, mask in masks.items()})
        for attribute, column in attributes.items()
    }
    return {attribute: counts.fillna(0).astype(int).T for attribute, counts in counted.items()}


def _outside(tables: dict[str, pd.DataFrame], facts: pd.DataFrame) -> list[str]:
    """The opened images that a box of theirs leaves."""
    boxes = pd.concat([table.set_index("image")["boxes"] for table in tables.values() if "boxes" in table] or [_NONE])
    readable = facts[facts["problem"] == ""]
    sizes = dict(zip(readable["image"], readable["size"], strict=True))
    return [
        str(image)
        for image, some in boxes.items()
        if image in sizes and outside(some, *map(int, sizes[image].split("x"))).any()
    ]


def _duplicates(facts: pd.DataFrame) -> pd.DataFrame:
    images = facts[(facts["role"] == "image") & (facts["digest"] != "")]
    rows = []
    for _, group in images[images["digest"].duplicated(keep=False)].groupby("digest"):
        splits, sources = sorted(set(group["split"])), sorted(set(group["source"]))
        within = "across sources" if len(sources) == len(group) else "within a source"
        files = " = ".join(f"{s}/{Path(i).name}" for s, i in zip(group["source"], group["image"], strict=True))
        kind = "across splits" if len(splits) > 1 else within
        rows.append((kind, len(group), ", ".join(sources), ", ".join(splits), files))
    return pd.DataFrame(rows, columns=["kind", "images", "sources", "splits", "files"])


def _task_errors(experiment: Experiment, tables: dict[str, pd.DataFrame]) -> list[str]:
    """What a training would refuse, in its own words: the first problem of every task, else of the tasks together."""
    errors: list[str] = []
    for tasks in (*([task] for task in experiment.active), experiment.active):
        if len(tasks) > 1 and errors:
            break
        try:
            for group in batch_groups(tasks, tables):
                group.stream(experiment.seed)
        except UserError as error:
            errors.append(str(error))
    return list(dict.fromkeys(errors))


def _undefined(experiment: Experiment, tables: dict[str, pd.DataFrame]) -> list[str]:
    notes = []
    for task in experiment.active:
        table = tables[task.source]
        val = table[table["split"] == "val"]
        notes += [
            f"tasks.{task.name}: no validation image is {label}, so its AUROC is undefined"
            for label in task.labels
            if label in table and not (val[label] == 1).any()
        ]
    return notes


def _print(console: Console, title: str, frame: pd.DataFrame) -> None:
    if frame.empty:
        return
    console.print(f"\n[bold]{title}[/]")
    table = Table()
    for column in frame:
        table.add_column(
            escape(str(column)), justify="right" if pd.api.types.is_numeric_dtype(frame[column]) else "left"
        )
    for row in frame.itertuples(index=False):
        table.add_row(*("" if pd.isna(value) else escape(str(value)) for value in row))
    console.print(table)
