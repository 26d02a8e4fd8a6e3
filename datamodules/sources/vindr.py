"""VinDr-CXR: chest X-rays of two hospitals in Hanoi, with boxes around 22 findings and 6 diagnoses, by radiologists.

Format:
    DICOM files ``train/<image_id>.dicom`` and ``test/<image_id>.dicom``; in the root or in ``annotations/`` the boxes
    ``annotations_train.csv`` and ``annotations_test.csv`` (image_id, class_name, x_min, y_min, x_max, y_max in pixels
    of the file, blank for "No finding"; for training images also rad_id), and with a 1 / 0 column a class
    ``image_labels_train.csv`` and ``image_labels_test.csv``. Kaggle's release (VinBigData) has ``train.csv`` in place
    of all four.
Classes:
    22 local findings with boxes, 6 diagnoses of the whole image, "No finding".
Images:
    15,000 training images, each read by 3 of 17 radiologists, and 3,000 test images, by a consensus of 5.
Licence:
    PhysioNet Credentialed Health Data License 1.5.0.
How to get it:
    From PhysioNet (vindr-cxr) after training, or Kaggle (vinbigdata-chest-xray-abnormalities-detection).
Cite:
    H. Q. Nguyen et al.: VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations.
    Scientific Data 9, 429 (2022).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.reading.boxes import merge_readers
from datamodules.reading.labels import check_labels, spell_as
from datamodules.reading.listing import scan_folders
from datamodules.sources.files import find_file, read_csv, source_root
from datamodules.sources.notes import SourceNotes, drop_missing
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.split import close_or_open
from experiments.errors import UserError, nearest
from experiments.names import name_key
from experiments.source_schema import VindrSource

NO_FINDING = "No finding"
_CORNERS = ["x_min", "y_min", "x_max", "y_max"]


def read_vindr(source: VindrSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    r"""Read VinDr-CXR into a sample table: one row an image, its boxes of all classes or of ``box_labels``.

    A training image has a finding if at least ``agreement`` of its radiologists marked it; boxes of one finding by
    several radiologists that overlap by half are one box, their mean. VinDr-CXR tells no patients.

    Args:
        source: Folder, tables, ``agreement`` and ``box_labels``.
        name: The source's name in the YAML.
        patients: Not needed.
        notes: Gets what a person should know.

    Raises:
        UserError: A missing file or column, a box that is no number or turned round, or no image found.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "train").mkdir()
        ...     Path(folder, "train", "a.dicom").touch()
        ...     rows = "a,Edema,R1,1,2,11,12\na,Edema,R2,1,2,11,12\na,Mass,R3,5,5,9,9\n"
        ...     header = "image_id,class_name,rad_id,x_min,y_min,x_max,y_max\n"
        ...     _ = Path(folder, "annotations_train.csv").write_text(header + rows)
        ...     table = read_vindr(VindrSource(root=folder), "vindr", PatientRegistry(), SourceNotes())
        >>> table[["Edema", "Mass"]].values.tolist(), table["boxes"][0].tolist()
        ([[1.0, 0.0]], [[1.0, 2.0, 11.0, 12.0]])
    """
    root = source_root(source, name)
    place = root / "annotations" if (root / "annotations").is_dir() else root

    # the marks of each split, one row a box or an image without any
    marks = {"train": _read_marks(find_file(place, source.train_boxes, f"data.sources.{name}.train_boxes"))}
    if any(place.glob(source.test_boxes)):
        marks["test"] = _read_marks(find_file(place, source.test_boxes, f"data.sources.{name}.test_boxes"))
    classes = sorted({label for rows in marks.values() for label in rows["class_name"].unique()} - {NO_FINDING})
    wrong = [label for label in source.box_labels if label not in classes]
    if wrong:
        raise UserError(f"data.sources.{name}.box_labels: no class {wrong[0]!r}{nearest(wrong[0], classes)}")

    # their images
    parts = []
    for split, rows in marks.items():
        found = scan_folders(root / split)
        notes.add_others(name, found.others, root / split)
        stems = {name_key(stem): path for stem, path in found.by_stem.items()}
        agreement = source.agreement if split == "train" else 1
        part = _summarise(rows, classes, source.box_labels or classes, agreement)
        ids = part.index.astype(str)
        part.insert(0, "file", [f"{split}/{each}.dicom" for each in ids])
        part.insert(1, "image", [stems.get(name_key(each)) for each in ids])
        part.insert(2, "patient", [f"{name}:{each}" for each in ids])
        part.insert(3, "split", split)
        parts.append(part.reset_index(drop=True))
    table = pd.concat(parts, ignore_index=True)
    check_labels(classes, root)
    table["split"] = close_or_open(table["split"])
    table.insert(4, "source", name)
    table.insert(5, "origin", "vindr")
    table = drop_missing(table, name, root, notes)
    notes.add_unknown_patients(name, len(table), len(table), "VinDr-CXR publishes none.")
    return table


def _read_marks(path: Path) -> pd.DataFrame:
    """Read a table of boxes: image_id, class_name, rad_id, and the corners, NaN where a class has no box."""
    rows = read_csv(path, ["image_id", "class_name", *_CORNERS], optional=["rad_id"], words=["class_name"])
    blank = rows[["image_id", "class_name"]].isna().any(axis=1)
    if blank.any():
        raise UserError(f"{path}, line {int(blank.to_numpy().argmax()) + 2}: image_id or class_name is blank")
    rows["class_name"] = spell_as(rows["class_name"], [NO_FINDING])
    corners = rows[_CORNERS].apply(pd.to_numeric, errors="coerce")

    # boxes that cannot be right
    has_box = rows[_CORNERS].notna().any(axis=1)
    is_number = (corners.abs() < np.inf).all(axis=1)
    turned = (corners["x_max"] <= corners["x_min"]) | (corners["y_max"] <= corners["y_min"])
    for wrong, text in (
        (has_box & ~is_number, "the box is no number"),
        (has_box & turned, "the box has no width or no height"),
    ):
        if wrong.any():
            line = int(wrong.to_numpy().argmax())
            values = ", ".join(rows[_CORNERS].iloc[line].fillna(""))
            raise UserError(f"{path}, line {line + 2}: {text}: {values!r}; correct the line or take it out")
    rows[_CORNERS] = corners.astype(np.float32)
    return rows if "rad_id" in rows else rows.assign(rad_id="consensus")


def _summarise(rows: pd.DataFrame, classes: list[str], boxed: list[str], agreement: int) -> pd.DataFrame:
    """Return a row an image, by its id: 1 / 0 a class, and the boxes on which enough radiologists agree."""
    readers = rows.drop_duplicates(["image_id", "class_name", "rad_id"]).groupby(["image_id", "class_name"]).size()
    counts = readers.unstack(fill_value=0).reindex(columns=classes, fill_value=0)
    table = (counts >= agreement).astype(float)
    table.columns.name = None

    boxes = {image: np.zeros((0, 4), np.float32) for image in table.index}
    marked = rows[rows["class_name"].isin(boxed) & rows["x_min"].notna()]
    for (image, _), some in marked.groupby(["image_id", "class_name"], sort=True):
        merged = merge_readers(some[_CORNERS].to_numpy(), some["rad_id"].tolist(), agreement)
        boxes[image] = np.concatenate([boxes[image], merged])
    return table.assign(boxes=pd.Series(boxes, dtype=object))
