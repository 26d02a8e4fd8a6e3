"""The sample table: what every data set becomes before anything else looks at it.

One :class:`pandas.DataFrame` a source, one row an image:

* ``image``: path; ``patient``: global id, shared across sources; ``split``: train, val or test; ``source``: its name
  in the YAML; ``origin``: where the image was collected (COVIDx's own sub-sources);
* a float column a label: 1 / 0 / NaN = unknown;
* ``boxes`` (sources with boxes): (n, 4) float32 xyxy in the image's own pixels, or in those of ``frame``: (width,
  height) of the images that the boxes were drawn for, of which the files may be scaled copies;
* ``received`` (WaCXR, pairs): path of the received image;
* ``file_format``: JPEG, PNG, DICOM, ..., by the file's name; ``projection`` (NIH): PA or AP; other texts that a table
  of the user's brings (``attributes``). A task can learn them in place of a disease (``tasks.<name>.column``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from pandas.api.types import is_numeric_dtype

from datamodules.reading.foreign import complete_table
from datamodules.reading.labels import NOT_LABELS
from datamodules.sources.duplicates import join_patients
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.received_folders import read_pairs
from datamodules.sources.split import as_published, close_or_open, patient_disjoint, shared_patients
from experiments.errors import UserError, nearest
from experiments.schema import DataSets, Duplicates, SplitPolicy, Task
from experiments.source_schema import PairsSource

logger = logging.getLogger("covidmt")

# In reading order: RSNA brings the mapping to NIH, COVIDx's lists the patients of files that do not tell them.
_ORDER = ("rsna", "covidx", "wacxr", "csv", "folder", "nih", "chexpert", "vindr")
# Whose test and validation patients win. Kinds that neither names are as a user's own table: csv.
_CLAIMS = ("wacxr", "covidx", "csv", "folder", "nih", "chexpert", "vindr", "rsna", "pairs")
_FORMATS = dict.fromkeys((".jpg", ".jpeg", ".jfif", ".jpe"), "JPEG")
_FORMATS |= {".dcm": "DICOM", ".dicom": "DICOM", ".tif": "TIFF"}


@dataclass(frozen=True)
class Assembly:
    """All sources read and split.

    Attributes:
        tables: Sample tables with the column ``published`` besides; ``split`` is NA where a row was left out because
            its patient is in another split.
        notes: What a person should know: images not found, patients unknown, rows left out.
    """

    tables: dict[str, pd.DataFrame]
    notes: SourceNotes


def load_tables(
    data: DataSets, names: Iterable[str] | None = None, tasks: Iterable[Task] = ()
) -> dict[str, pd.DataFrame]:
    """Read the sample tables of ``data.sources`` (of the named ones) with their final splits; no image is decoded.

    Every source takes part in the split, named or not, so that an ablation's runs all train on the same people.
    Warnings go to the logger ``covidmt``.

    Args:
        data: The settings.
        names: Sources; None: all.
        tasks: Those that learn a text column (``tasks.<name>.column``) get its values as label columns.

    Raises:
        UserError: A named source cannot be read, or has no such column. Others, and WaCXR where none is named, may be
            absent.
    """
    assembly = assemble(data, names)
    for note in (*assembly.notes.problems, *assembly.notes.risks, *assembly.notes.lines):
        logger.warning(note)
    wanted = assembly.tables if names is None else list(names)
    tables = {
        name: table[table["split"].notna()].drop(columns="published").reset_index(drop=True)
        for name, table in assembly.tables.items()
        if name in wanted
    }
    return add_column_labels(tables, tasks)


def assemble(data: DataSets, names: Iterable[str] | None = None) -> Assembly:
    """Read and split all sources; see :func:`load_tables`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from experiments.schema import Data
        >>> from experiments.source_schema import FolderSource
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("train/sick/a.png", "train/well/b.png", "test/sick/c.png"):
        ...         Path(folder, file).parent.mkdir(parents=True)
        ...         Path(folder, file).touch()
        ...     table = assemble(Data(sources={"mine": FolderSource(root=folder)})).tables["mine"]
        >>> table.loc[table["split"] == "test", ["patient", "sick", "well"]].values.tolist()
        [['mine:test/sick/c.png', 1.0, 0.0]]
    """
    optional = ("wacxr", "pairs")
    required = {n for n, s in data.sources.items() if s.kind not in optional} if names is None else set(names)
    wanted = [source for name, source in data.sources.items() if name in required]
    required |= {source.labels_of for source in wanted if isinstance(source, PairsSource) and source.labels_of}
    for name in required - data.sources.keys():
        raise UserError(f"data.sources: no source {name!r}{nearest(name, data.sources)}")

    # read; the tables in the order of their claims on patients
    notes = SourceNotes()
    tables = _read_sources(data, required, notes)
    if data.duplicates is Duplicates.join and tables:
        tables, joined = join_patients(tables)
        notes.lines += [joined] if joined else []
    kinds = {name: data.sources[name].kind for name in tables}
    tables = {name: tables[name] for name in sorted(tables, key=lambda name: _rank(kinds[name], _CLAIMS))}

    # split
    if data.split_policy is SplitPolicy.paper:
        by_image = [name for name, kind in kinds.items() if kind == "rsna"]
        splits = as_published(tables, by_image, data.val_fraction, data.split_seed)
    else:
        classes = None
        if data.split_policy is SplitPolicy.stratified:
            classes = {name: _rarest_label(table) for name, table in tables.items()}
        splits = patient_disjoint(
            tables, data.val_fraction, data.split_seed, test_fraction=data.test_fraction, classes=classes
        )

    # the final split beside the published one, in the YAML's order
    final = {
        name: tables[name].assign(split=splits[name], published=tables[name]["split"])
        for name in data.sources
        if name in tables
    }
    notes.lines += _describe_losses(final)
    notes.risks += _describe_leaks(final)
    return Assembly(final, notes)


def label_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of a sample table's labels: its columns of numbers.

    Example:
        >>> label_columns(pd.DataFrame({"image": ["a.png"], "split": ["train"], "sick": [1.0], "projection": ["PA"]}))
        ['sick']
    """
    return [str(column) for column in table if column not in NOT_LABELS and is_numeric_dtype(table[column])]


def attribute_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of a sample table's texts that say how an image was made: what a task's ``column`` may name.

    Example:
        >>> attribute_columns(pd.DataFrame({"image": ["a.png"], "origin": ["cohen"], "sick": [1.0], "room": ["ICU"]}))
        ['origin', 'room']
    """
    known = {"source", "origin", "file_format", "projection"}
    texts = set(table) - NOT_LABELS - set(label_columns(table))
    return [str(column) for column in table if column in known | texts]


def add_column_labels(tables: dict[str, pd.DataFrame], tasks: Iterable[Task]) -> dict[str, pd.DataFrame]:
    """Return the tables with a label column, 1 / 0 / NaN = unknown, for each value that a task of ``column`` learns.

    Args:
        tables: Source -> sample table.
        tasks: Those without ``column``, or of a source that is not there, change nothing.

    Raises:
        UserError: The source has no such column of texts, or a label of that name already.

    Example:
        >>> table = pd.DataFrame({"image": ["a", "b", "c"], "projection": ["PA", "AP", None]})
        >>> task = Task("view", "mine", column="projection", labels=["PA", "AP"])
        >>> add_column_labels({"mine": table}, [task])["mine"][["PA", "AP"]].values.tolist()
        [[1.0, 0.0], [0.0, 1.0], [nan, nan]]
    """
    tables = dict(tables)
    originals = dict(tables)
    for task in tasks:
        if task.column is None or task.source not in tables:
            continue

        # the column, and labels that no other column is called
        key, table = f"tasks.{task.name}", originals[task.source]
        columns = attribute_columns(table)
        if task.column not in columns:
            raise UserError(
                f"{key}.column: source '{task.source}' has no text column {task.column!r}"
                f"{nearest(task.column, columns)}; it has {', '.join(columns)}"
            )
        taken = [label for label in task.labels if label in table]
        if taken:
            raise UserError(f"{key}.labels: {taken[0]!r} is a column of source '{task.source}' too; rename the value")

        values = table[task.column]
        labels = {label: (values == label).astype(float).where(values.notna()) for label in task.labels}
        tables[task.source] = tables[task.source].assign(**labels)
    return tables


def _read_sources(data: DataSets, required: set[str], notes: SourceNotes) -> dict[str, pd.DataFrame]:
    patients = PatientRegistry()
    tables = {}
    for name, source in sorted(data.sources.items(), key=lambda item: _rank(item[1].kind, _ORDER)):
        if isinstance(source, PairsSource):
            continue
        try:
            table = source.read(name, patients, notes)
            if source.kind not in _CLAIMS:
                table = complete_table(table, name)
                table["split"] = close_or_open(table["split"])
            tables[name] = table.assign(file_format=table["image"].map(_file_format))
        except UserError as error:
            if name in required:
                raise
            notes.append(f"{name}: not read, so its patients are not kept apart from the others ({error})")
    return tables | _read_pairs(data, required, tables, patients, notes)


def _rank(kind: str, order: tuple[str, ...]) -> int:
    return order.index(kind if kind in order else "csv")


def _read_pairs(
    data: DataSets,
    required: set[str],
    tables: dict[str, pd.DataFrame],
    patients: PatientRegistry,
    notes: SourceNotes,
) -> dict[str, pd.DataFrame]:
    """Read the sources of kind ``pairs``, whose labels are those of other sources."""
    pairs = {}
    for name, source in data.sources.items():
        if not isinstance(source, PairsSource):
            continue
        try:
            if source.labels_of is not None and source.labels_of not in tables:
                known = nearest(source.labels_of, tables)
                raise UserError(f"data.sources.{name}.labels_of: source {source.labels_of!r} was not read{known}")
            labelled = None if source.labels_of is None else tables[source.labels_of]
            table = read_pairs(source, name, labelled, patients, notes)
            pairs[name] = table.assign(file_format=table["image"].map(_file_format))
        except UserError as error:
            if name in required:
                raise
            notes.append(f"{name}: not read ({error})")
    return pairs


def _file_format(image: str) -> str:
    suffix = os.path.splitext(image)[1].lower()
    return _FORMATS.get(suffix, suffix.removeprefix(".").upper())


def _rarest_label(table: pd.DataFrame) -> pd.Series:
    """Return each row's class for a stratified draw: the rarest of its labels, blank where it has none."""
    labels = table[label_columns(table)]
    order = labels.sum().sort_values(kind="stable").index
    has = (labels[order] == 1).assign(**{"": True})
    return has.idxmax(axis=1)


def _describe_losses(tables: dict[str, pd.DataFrame]) -> list[str]:
    lost = {name: int(table["split"].isna().sum()) for name, table in tables.items()}
    return [
        f"{name}: {n} of {len(tables[name])} images left out, because their patients are in another split"
        for name, n in lost.items()
        if n
    ]


def _describe_leaks(tables: dict[str, pd.DataFrame]) -> list[str]:
    shared = shared_patients(tables) if tables else pd.DataFrame()
    if shared.empty:
        return []
    tested = int(shared["splits"].str.contains("test").sum())
    return [
        f"{len(shared)} patients are in more than one split ({tested} of them in test): scores will flatter; "
        "data.split_policy: patient_disjoint keeps them apart"
    ]
