"""NIH ChestX-ray14: Data_Entry in either revision, the official lists, images_*/images/ or one folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.sources.files import drop_missing, find_file, list_images, read_csv, read_text, source_root
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.schema import NihSource

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
NO_FINDING = "No Finding"


def read_nih(source: NihSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
    """The sample table; published split ``test`` or ``train_val`` (a validation split is drawn by patient).

    Raises:
        UserError: A missing or ambiguous file, a missing column, an unknown finding, or no image found.
    """
    root = source_root(source, name)
    path = find_file(root, source.entries, f"data.sources.{name}.entries")
    entries = read_csv(path, ["Image Index", "Finding Labels"])  # the columns that both revisions name alike
    files = entries["Image Index"]
    bad = files[~files.fillna("").str.fullmatch(r"\d{8}_\d{3}\.png")]
    if len(bad):
        raise UserError(f"{path}, line {bad.index[0] + 2}: {bad.iloc[0]!r} is no NIH image name (00000001_000.png)")
    entries = entries.drop_duplicates()
    files = entries["Image Index"]
    if (twice := files.duplicated()).any():
        line = entries.index[twice][0] + 2
        raise UserError(f"{path}, line {line}: {files[twice].iloc[0]} has other findings in an earlier line; leave one")
    images = list_images(*sorted(root.glob("images_*/images")), *sorted(root.glob("images*")), root)
    table = pd.DataFrame(
        {
            "file": files,
            "image": files.map(images),
            "patient": "nih:" + files.str[:8],
            "split": _published(files, root, source, name, notes),
            "source": name,
            "origin": "nih",
        }
    )
    table = pd.concat([table, _labels(entries["Finding Labels"].fillna(""), path)], axis=1)
    return drop_missing(table[table["split"].notna()], name, root, notes)


def _published(files: pd.Series, root: Path, source: NihSource, name: str, notes: list[str]) -> pd.Series:
    listed: dict[str, str] = {}
    for split, pattern in (("train_val", source.train_val_list), ("test", source.test_list)):
        path = find_file(root, pattern, f"data.sources.{name}.{split}_list")
        listed.update(dict.fromkeys(read_text(path).split(), split))
    published = files.map(listed).astype("str")
    if unknown := len(listed) - int(published.notna().sum()):
        notes.append(f"{name}: {unknown} images of the official lists are not in the entries table and are left out")
    if unlisted := int(published.isna().sum()):
        notes.append(f"{name}: {unlisted} images are in neither of the official lists and are left out")
    return published


def _labels(findings: pd.Series, path: Path) -> pd.DataFrame:
    """1 / 0 for the 14 findings; the labels are text-mined, so 0 means 'not mentioned'."""
    kinds = pd.Series(findings.unique())
    dummies = kinds.str.get_dummies("|")
    unknown = sorted(set(dummies.columns) - set(LABELS) - {NO_FINDING})
    if unknown or "" in set(kinds):
        where = findings.index[findings.str.contains(unknown[0], regex=False) if unknown else findings == ""][0] + 2
        raise UserError(f"{path}, line {where}: unknown finding {unknown[0] if unknown else ''!r}")
    table = dummies.set_axis(kinds).reindex(columns=list(LABELS), fill_value=0).astype(float)
    return table.loc[findings].set_axis(findings.index)
