"""``covidmt data check``: reads every table, opens the images, and says what would spoil a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from datamodules.checks.counts import compare_with_paper, count_images, count_sources
from datamodules.checks.files import ACROSS_SPLITS, find_boxes_outside, find_duplicates, open_files
from datamodules.checks.pictures import describe_notes, describe_pictures
from datamodules.checks.shortcuts import count_attributes, giveaways, sole_formats
from datamodules.classes import (
    describe_few_patients,
    describe_few_validation_images,
    describe_misspellings,
    describe_unlabelled,
    describe_unused_labels,
)
from datamodules.groups import batch_groups
from datamodules.sources.files import abbreviate
from datamodules.sources.split import shared_patients
from datamodules.sources.table import add_column_labels, assemble
from experiments.errors import UserError
from experiments.schema import Data, Duplicates, Experiment, SplitPolicy


@dataclass(frozen=True)
class CheckReport:
    """Findings of :func:`check_data`.

    Attributes:
        sources: A row for each source: what was found there, and what not.
        counts: A row for each source and class: images in train, val, test, left out (patient in another split).
        paper: Quantity, the paper's figure, as listed by the data set (NA: it publishes no splits), as used by this
            experiment.
        shortcuts: Attribute (source, file format, size) -> images of the primary task's training split, class by value.
        unreadable: Image, source, problem.
        duplicates: Groups of images with the same pixels: kind, images, sources, splits, files.
        shared: Patients in more than one split.
        opened: How many of how many files were opened.
        missing: Source -> the listed images that are not there, all of them.
        notes: Worth knowing.
        risks: What a network may learn instead of the disease; splits that are worth less than they look.
        errors: What would stop or spoil a training.
    """

    sources: pd.DataFrame
    counts: pd.DataFrame
    paper: pd.DataFrame
    shortcuts: dict[str, pd.DataFrame]
    unreadable: pd.DataFrame
    duplicates: pd.DataFrame
    shared: pd.DataFrame
    opened: tuple[int, int]
    missing: dict[str, list[str]]
    notes: list[str]
    risks: list[str]
    errors: list[str]


def check_data(
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

    # tables and files
    assembly = assemble(data, {task.source for task in experiment.active} | {data.pairs.val_sources[0]})
    tables = {name: table[table["split"].notna()] for name, table in assembly.tables.items()}
    tables = add_column_labels(tables, experiment.active)
    files = open_files(tables, limit, progress, data.max_megapixels)
    total = sum(len(table) * (1 + ("received" in table)) for table in tables.values())
    unreadable = files.loc[files["problem"] != "", ["image", "source", "problem"]].reset_index(drop=True)

    pictures = [*describe_notes(files), *describe_pictures(files)]

    # what they give away, and what leaks between splits
    shortcuts = count_attributes(experiment, tables, files)
    risks = [
        risk
        for attribute, counts in shortcuts.items()
        for risk in giveaways(attribute, counts, recompressed=bool(data.augment.jpeg))
    ]
    risks += sole_formats(shortcuts["file format"], risks)
    for task in experiment.active:
        if task.name == experiment.robustness.task:
            risks += describe_few_patients(task, experiment.robustness.label, tables[task.source])
    duplicates = find_duplicates(files)
    shared = shared_patients(tables)
    leaks, repeats = _describe_leaks(duplicates, shared, data)

    # what would stop a training
    errors = [*assembly.notes.problems, *_task_errors(experiment, tables)]
    if len(unreadable):
        errors.append(f"{len(unreadable)} unreadable images: {abbreviate(unreadable['image'])}")
    boxed = find_boxes_outside(tables, files)
    if boxed:
        errors.append(f"{len(boxed)} images have boxes outside of their pixels: {abbreviate(boxed)}")

    # labels and classes
    labels = [
        *describe_misspellings(experiment.active, tables),
        *describe_unused_labels(experiment.active, tables),
        *describe_unlabelled(experiment.active, tables),
        *describe_few_validation_images(experiment.active, tables, data.split_policy),
    ]

    kinds = {name: data.sources[name].kind for name in assembly.tables}
    return CheckReport(
        sources=count_sources(assembly.tables, kinds, assembly.notes.counts),
        counts=count_images(assembly.tables),
        paper=compare_with_paper(assembly.tables, kinds),
        shortcuts=shortcuts,
        unreadable=unreadable,
        duplicates=duplicates,
        shared=shared,
        opened=(len(files), total),
        missing=assembly.notes.missing,
        notes=[*assembly.notes.lines, *labels, *repeats, *pictures],
        risks=[*assembly.notes.risks, *risks],
        errors=[*errors, *leaks],
    )


def _describe_leaks(duplicates: pd.DataFrame, shared: pd.DataFrame, data: Data) -> tuple[list[str], list[str]]:
    """Return the problems and the notes; under the paper's policy, which knows people in several splits, all notes."""
    by_paper = data.split_policy is SplitPolicy.paper
    problems, notes = [], []
    if len(shared) and not by_paper:  # under the paper's policy the split's own notes say so already
        problems.append(f"{len(shared)} patients are in more than one split: {abbreviate(shared['patient'])}")
    for kind, groups in duplicates.groupby("kind"):
        names = abbreviate([abbreviate(files, joint=" = ") for files in groups["files"]])
        sentence = f"{len(groups)} images occur more than once {kind}: {names}"
        if kind == ACROSS_SPLITS and not by_paper and data.duplicates is not Duplicates.keep:
            remedy = (
                "remove one of each, or give both one patient; data.duplicates=join does so for files that are equal"
            )
            problems.append(f"{sentence}; {remedy}")
        else:
            notes.append(sentence)
    return problems, notes


def _task_errors(experiment: Experiment, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return what a training would refuse: the first problem of every task, else of the tasks together."""
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
