"""A user's own class folders: ``<root>/<class>/*``, or ``<root>/<train|val|test>/<class>/*``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.sources.files import check_labels, list_images, source_root
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.split import SPLIT_NAMES, close_or_open
from experiments.errors import UserError
from experiments.source_schema import FolderSource


def read_user_folder(source: FolderSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
    """Read class folders into a sample table: each class a label, 1 for its folder's images and 0 for the others.

    Without split folders the split is drawn. A patient is known where the file name is of a public data set that
    tells it; any other image counts as a patient of its own.

    Args:
        source: The folder.
        name: The source's name in the YAML.
        patients: Knows the patients of public data sets' files.
        notes: Gets what a person should know; here nothing.

    Raises:
        UserError: No images, or class and split folders side by side.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("sick/a.png", "well/00000007_000.png"):
        ...         Path(folder, file).parent.mkdir()
        ...         Path(folder, file).touch()
        ...     table = read_user_folder(FolderSource(root=folder), "mine", PatientRegistry(), [])
        >>> table[["patient", "sick", "well"]].values.tolist()
        [['mine:sick/a.png', 1.0, 0.0], ['nih:00000007', 0.0, 1.0]]
    """
    root = source_root(source, name)

    # split folders, if there are any
    folders = _subfolders(root)
    splits = {path: SPLIT_NAMES[path.name.lower()] for path in folders if path.name.lower() in SPLIT_NAMES}
    if splits and len(splits) < len(folders):
        other = next(path.name for path in folders if path not in splits)
        raise UserError(f"{root}: {other}/ beside {next(iter(splits)).name}/; use split folders for all images or none")

    # a row an image
    rows = []
    for parent in splits or [root]:
        for folder in _subfolders(parent):
            for file, image in sorted(list_images(folder).items()):
                person = patients.of_stem(Path(file).stem) or f"{name}:{Path(image).relative_to(root).as_posix()}"
                rows.append((image, person, splits.get(parent, pd.NA), folder.name))
    if not rows:
        raise UserError(f"{root}: no images in class folders; expected <class>/* or <train|val|test>/<class>/*")
    table = pd.DataFrame(rows, columns=["image", "patient", "split", "class"])
    table["split"] = close_or_open(table["split"])
    table = table.assign(source=name, origin=name)

    # a label a class
    labels = pd.get_dummies(table.pop("class"), dtype=float)
    check_labels(map(str, labels), root)
    return pd.concat([table, labels], axis=1)


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
