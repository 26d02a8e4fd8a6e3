"""The sample table: what every data set becomes before anything else looks at it.

One :class:`pandas.DataFrame` a source, one row an image:

* ``image``: path; ``patient``: global id, shared across sources; ``split``: train, val or test; ``source``: its name
  in the YAML; ``origin``: where the image was collected (COVIDx's own sub-sources);
* a float column a label: 1 / 0 / NaN = unknown;
* ``boxes`` (sources with boxes): (n, 4) float32 xyxy in the image's own pixels;
* ``received`` (WaCXR): path of the received image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from datamodules.sources.covidx import read_covidx
from datamodules.sources.files import NOT_LABELS
from datamodules.sources.nih import read_nih
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.rsna import read_rsna
from datamodules.sources.split import as_published, patient_disjoint, shared_patients
from datamodules.sources.user_csv import read_user_csv
from datamodules.sources.user_folder import read_user_folder
from datamodules.sources.wacxr import read_wacxr
from experiments.errors import UserError, nearest
from experiments.schema import Data, SplitPolicy

logger = logging.getLogger("covidmt")

# In reading order: RSNA brings the mapping to NIH, COVIDx's lists the patients of files that do not tell them.
READERS: dict[str, Callable[[Any, str, PatientRegistry, list[str]], pd.DataFrame]] = {
    "rsna": read_rsna,
    "covidx": read_covidx,
    "wacxr": read_wacxr,
    "csv": read_user_csv,
    "folder": read_user_folder,
    "nih": read_nih,
}
_CLAIMS = ("wacxr", "covidx", "csv", "folder", "nih", "rsna")  # whose test and validation patients win


@dataclass(frozen=True)
class Assembly:
    """All sources read and split.

    Attributes:
        tables: Sample tables with the column ``published`` besides; ``split`` is NA where a row was left out because
            its patient is in another split.
        notes: What a person should know: images not found, patients unknown, rows left out.
    """

    tables: dict[str, pd.DataFrame]
    notes: list[str]


def load_tables(data: Data, names: Iterable[str] | None = None) -> dict[str, pd.DataFrame]:
    """Read the sample tables of ``data.sources`` (of the named ones) with their final splits; no image is opened.

    Every source takes part in the split, named or not, so that an ablation's runs all train on the same people.
    Warnings go to the logger ``covidmt``.

    Raises:
        UserError: A named source cannot be read. Others, and WaCXR where none is named, may be absent.
    """
    assembly = assemble(data, names)
    for note in assembly.notes:
        logger.warning(note)
    wanted = assembly.tables if names is None else list(names)
    return {
        name: table[table["split"].notna()].drop(columns="published").reset_index(drop=True)
        for name, table in assembly.tables.items()
        if name in wanted
    }


def assemble(data: Data, names: Iterable[str] | None = None) -> Assembly:
    """Read and split all sources; see :func:`load_tables`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from experiments.source_schema import FolderSource
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("train/sick/a.png", "train/well/b.png", "test/sick/c.png"):
        ...         Path(folder, file).parent.mkdir(parents=True)
        ...         Path(folder, file).touch()
        ...     table = assemble(Data(sources={"mine": FolderSource(root=folder)})).tables["mine"]
        >>> table.loc[table["split"] == "test", ["patient", "sick", "well"]].values.tolist()
        [['mine:test/sick/c.png', 1.0, 0.0]]
    """
    required = {n for n, s in data.sources.items() if s.kind != "wacxr"} if names is None else set(names)
    for name in required - data.sources.keys():
        raise UserError(f"data.sources: no source {name!r}{nearest(name, data.sources)}")

    # read; the tables in the order of their claims on patients
    notes: list[str] = []
    tables = _read_sources(data, required, notes)
    kinds = {name: data.sources[name].kind for name in tables}
    tables = {name: tables[name] for name in sorted(tables, key=lambda name: _CLAIMS.index(kinds[name]))}

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
    return Assembly(final, notes + _describe_losses(final) + _describe_leaks(final))


def label_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of a sample table's labels.

    Example:
        >>> label_columns(pd.DataFrame(columns=["image", "patient", "split", "sick", "well", "boxes"]))
        ['sick', 'well']
    """
    return [str(column) for column in table if column not in NOT_LABELS]


def _read_sources(data: Data, required: set[str], notes: list[str]) -> dict[str, pd.DataFrame]:
    patients = PatientRegistry()
    tables = {}
    for kind, read in READERS.items():
        for name, source in data.sources.items():
            if source.kind != kind:
                continue
            try:
                tables[name] = read(source, name, patients, notes)
            except UserError as error:
                if name in required:
                    raise
                notes.append(f"{name}: not read, so its patients are not kept apart from the others ({error})")
    return tables


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
