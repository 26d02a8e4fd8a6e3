"""NIH ChestX-ray14 (ChestX-ray8, extended): frontal chest X-rays with 14 text-mined findings.

Format:
    1024-px PNG files in ``images_001/images/`` and following, or in one folder; ``Data_Entry_2017*.csv`` in either of
    its two revisions with a line an image, its findings joined by ``|``; the official lists ``train_val_list.txt`` and
    ``test_list.txt``. The first eight digits of a file name are the patient.
Classes:
    The 14 findings of :data:`LABELS`, several an image, or "No Finding". They were mined from the radiologists'
    reports: 0 means "not mentioned".
Images:
    112,120 of 30,805 patients.
How to get it:
    From the NIH Clinical Center's download page.
Cite:
    X. Wang, Y. Peng, L. Lu, Z. Lu, M. Bagheri, R. M. Summers: ChestX-ray8: Hospital-scale Chest X-ray Database and
    Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases. CVPR 2017.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.reading.labels import spell_as, split_labels
from datamodules.reading.listing import FolderImages, scan_folders
from datamodules.sources.files import find_file, read_csv, read_text, source_root
from datamodules.sources.notes import SourceNotes, drop_missing
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError, nearest
from experiments.source_schema import NihSource

LABELS = NihSource.published
NO_FINDING = "No Finding"


def read_nih(source: NihSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    r"""Read NIH ChestX-ray14 into a sample table.

    The published split is ``test`` or ``train_val``: a validation split is drawn by patient.

    Args:
        source: Folder, entries and lists.
        name: The source's name in the YAML.
        patients: Not needed: the file names hold the patients.
        notes: Gets what a person should know.

    Raises:
        UserError: A missing or ambiguous file, a missing column, an unknown finding, or no image found.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     root = Path(folder)
        ...     (root / "00000007_000.png").touch()
        ...     _ = (root / "Data_Entry_2017.csv").write_text(
        ...         "Image Index,Finding Labels\n00000007_000.png,Effusion|Mass\n"
        ...     )
        ...     _ = (root / "train_val_list.txt").write_text("00000007_000.png\n")
        ...     (root / "test_list.txt").touch()
        ...     table = read_nih(NihSource(root=folder), "nih", PatientRegistry(), SourceNotes())
        >>> table[["patient", "split", "Effusion", "Mass", "Nodule"]].values.tolist()
        [['nih:00000007', 'train_val', 1.0, 1.0, 0.0]]
    """
    root = source_root(source, name)

    # the entries, one an image
    path = find_file(root, source.entries, f"data.sources.{name}.entries")
    columns = ["Image Index", "Finding Labels"]  # that both revisions name alike
    entries = read_csv(path, columns, optional=["View Position"])
    files = entries["Image Index"]
    bad = files[~files.fillna("").str.fullmatch(r"\d{8}_\d{3}\.png")]
    if len(bad):
        raise UserError(f"{path}, line {bad.index[0] + 2}: {bad.iloc[0]!r} is no NIH image name (00000001_000.png)")
    entries = entries.drop_duplicates()
    files = entries["Image Index"]
    repeated = files.duplicated()
    if repeated.any():
        line = entries.index[repeated][0] + 2
        file = files[repeated].iloc[0]
        raise UserError(f"{path}, line {line}: {file} has other findings in an earlier line; leave one")

    # what is known of each
    inside = scan_folders(*sorted(root.glob("images_*/images")), *sorted(root.glob("images*")))
    notes.add_others(name, inside.others, root)
    images = FolderImages(scan_folders(root).images | inside.images)  # or beside the tables
    table = pd.DataFrame(
        {
            "file": files,
            "image": [images.find(file) for file in files],
            "patient": "nih:" + files.str[:8],
            "split": _published_split(files, root, source, name, notes),
            "source": name,
            "origin": "nih",
        }
    )
    if "View Position" in entries:
        table["projection"] = entries["View Position"]
    table = pd.concat([table, _labels(entries["Finding Labels"].fillna(""), path)], axis=1)
    return drop_missing(table[table["split"].notna()], name, root, notes)


def _published_split(files: pd.Series, root: Path, source: NihSource, name: str, notes: SourceNotes) -> pd.Series:
    listed: dict[str, str] = {}
    for split, pattern in (("train_val", source.train_val_list), ("test", source.test_list)):
        path = find_file(root, pattern, f"data.sources.{name}.{split}_list")
        listed.update(dict.fromkeys(read_text(path).split(), split))

    published = files.map(listed).astype("str")
    missing = len(listed) - int(published.notna().sum())
    if missing:
        notes.append(f"{name}: {missing} images of the official lists are not in the entries table and are left out")
    unlisted = int(published.isna().sum())
    if unlisted:
        notes.append(f"{name}: {unlisted} images are in neither of the official lists and are left out")
    return published


def _labels(findings: pd.Series, path: Path) -> pd.DataFrame:
    """Return 1 / 0 for each of the 14 findings."""
    table = split_labels(findings)
    blank = table.isna().all(axis=1)
    if blank.any():
        raise UserError(f"{path}, line {findings.index[blank][0] + 2}: unknown finding ''")

    # in NIH's spelling
    table.columns = spell_as(pd.Series(table.columns), [*LABELS, NO_FINDING])
    unknown = sorted(set(table.columns) - set(LABELS) - {NO_FINDING})
    if unknown:
        line = findings.index[table[unknown[0]] == 1][0] + 2
        raise UserError(f"{path}, line {line}: unknown finding {unknown[0]!r}{nearest(unknown[0], LABELS)}")
    return table.T.groupby(level=0).max().T.reindex(columns=list(LABELS), fill_value=0.0)
