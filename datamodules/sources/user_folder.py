"""A user's own class folders: ``<root>/<class>/*``, or ``<root>/<train|val|test>/<class>/*``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.reading.labels import check_labels
from datamodules.reading.listing import scan_folders, subfolders
from datamodules.sources.files import source_root
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.split import SPLIT_NAMES, close_or_open
from experiments.errors import UserError
from experiments.source_schema import FolderSource


def read_user_folder(source: FolderSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    """Read class folders into a sample table: each class a label, 1 for its folder's images and 0 for the others.

    Without split folders the split is drawn. A patient is known where the file name is of a public data set that
    tells it; any other image counts as a patient of its own.

    Args:
        source: The folder.
        name: The source's name in the YAML.
        patients: Knows the patients of public data sets' files.
        notes: Gets what a person should know.

    Raises:
        UserError: No images, or class and split folders side by side.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("sick/a.png", "well/00000007_000.png"):
        ...         Path(folder, file).parent.mkdir()
        ...         Path(folder, file).touch()
        ...     table = read_user_folder(FolderSource(root=folder), "mine", PatientRegistry(), SourceNotes())
        >>> table[["patient", "sick", "well"]].values.tolist()
        [['mine:sick/a.png', 1.0, 0.0], ['nih:00000007', 0.0, 1.0]]
    """
    root = source_root(source, name)

    # split folders, if there are any
    folders = subfolders(root)
    patients.read_ieee8023(root)
    splits = {path: SPLIT_NAMES[path.name.lower()] for path in folders if path.name.lower() in SPLIT_NAMES}
    if splits and len(splits) < len(folders):
        other = next(path.name for path in folders if path not in splits)
        raise UserError(f"{root}: {other}/ beside {next(iter(splits)).name}/; use split folders for all images or none")

    # a row an image
    rows, others, unknown = [], [], 0
    for parent in splits or [root]:
        for folder in subfolders(parent):
            found = scan_folders(folder)
            others += [*found.others, *(f"{folder.name}/{deeper.name}/" for deeper in subfolders(folder))]
            for file, image in sorted(found.images.items()):
                person = patients.of_stem(Path(file).stem)
                unknown += person is None
                own = f"{name}:{Path(image).relative_to(root).as_posix()}"
                rows.append((image, person or own, splits.get(parent, pd.NA), folder.name))
    notes.add_others(name, others, root)
    if not rows:
        raise UserError(f"{root}: no images in class folders; expected <class>/* or <train|val|test>/<class>/*")
    table = pd.DataFrame(rows, columns=["image", "patient", "split", "class"])
    notes.add_unknown_patients(name, unknown, len(table), "Make it a table (kind: csv) with a column of patients.")
    table["split"] = close_or_open(table["split"])
    table = table.assign(source=name, origin=name)

    # a label a class
    labels = pd.get_dummies(table.pop("class"), dtype=float)
    check_labels(map(str, labels), root)
    return pd.concat([table, labels], axis=1)
