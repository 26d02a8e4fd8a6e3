"""RSNA Pneumonia Detection Challenge, stage 2: DICOM files, a label row per box, a class per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.sources.files import drop_missing, find_file, list_images, read_csv, source_root
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.schema import RsnaSource

LABELS = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")


def read_rsna(source: RsnaSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
    """The sample table: one row an image, its boxes (n, 4) float32 xyxy in DICOM pixels; no published split.

    Raises:
        UserError: A missing file or column, a number that is none, an unknown class, or no image found.
    """
    root = source_root(source, name)
    if source.mapping and any(path.is_file() for path in root.glob(source.mapping)):
        patients.read_mapping(find_file(root, source.mapping, f"data.sources.{name}.mapping"))
    boxes = read_boxes(find_file(root, source.labels, f"data.sources.{name}.labels"))
    classes = _classes(root, source, name, boxes)
    images = list_images(root / source.images)
    stems = {Path(file).stem: path for file, path in images.items()}
    unmapped = sum(rsna_id not in patients.nih_images for rsna_id in boxes.index)
    if unmapped:
        notes.append(
            f"{name}: {unmapped} of {len(boxes)} images are not in the mapping to NIH (data.sources.{name}.mapping); "
            "each counts as a patient of its own, so one person can be in training and test. RSNA publishes the file"
        )
    table = pd.DataFrame(
        {
            "file": boxes.index + ".dcm",
            "image": [stems.get(rsna_id) for rsna_id in boxes.index],
            "patient": [patients.of_rsna(rsna_id) for rsna_id in boxes.index],
            "split": pd.Series(pd.NA, boxes.index, dtype="str"),
            "source": name,
            "origin": "rsna",
            **{label: classes[label] for label in LABELS},
            "boxes": boxes,
        }
    )
    return drop_missing(table, name, root / source.images, notes)


def read_boxes(path: Path) -> pd.Series:
    """RSNA id -> (n, 4) float32 xyxy boxes, n = 0 for a negative image; in the order of the ids."""
    rows = read_csv(path, ["patientId", "x", "y", "width", "height", "Target"])
    if rows.empty:
        raise UserError(f"{path}: has a header but no rows; copy it again")
    if (blank := rows["patientId"].isna()).any():
        raise UserError(f"{path}, line {int(blank.to_numpy().argmax()) + 2}: patientId is blank")
    texts = rows[["x", "y", "width", "height", "Target"]]
    numbers = texts.apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    corners = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]], axis=1)
    has_box = numbers[:, 4] == 1
    ids, codes = np.unique(rows["patientId"].to_numpy(dtype=object), return_inverse=True)
    positive = np.bincount(codes, has_box)[codes] > 0
    blank = texts.iloc[:, :4].isna().to_numpy()
    for wrong, text in (
        ((np.isnan(numbers[:, :4]) & ~blank).any(axis=1) | np.isinf(numbers).any(axis=1), "the box is no number"),
        (~np.isin(numbers[:, 4], (0, 1)), "Target is neither 0 nor 1"),
        (has_box & blank.any(axis=1), "Target is 1 but the box is blank"),
        (has_box & (numbers[:, 2:4] <= 0).any(axis=1), "the box has no width or no height"),
        (~has_box & ~blank.all(axis=1), "Target is 0 but there is a box"),
        (~has_box & positive, "Target is 0, but the same patientId has a box in another line"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            values = ",".join(rows.iloc[row].fillna(""))
            raise UserError(f"{path}, line {row + 2}: {text}: {values!r}; correct the line or take it out")
    order = np.argsort(codes[has_box], kind="stable")
    ends = np.cumsum(np.bincount(codes[has_box], minlength=len(ids)))
    return pd.Series(np.split(corners[has_box][order], ends[:-1]), index=pd.Index(ids, name="patientId"), dtype=object)


def _classes(root: Path, source: RsnaSource, name: str, boxes: pd.Series) -> pd.DataFrame:
    """1 / 0 a class; without the class file an image without boxes is of either of the two other classes."""
    opacity = pd.Series([float(len(b) > 0) for b in boxes], boxes.index)
    if source.class_info is None:
        other = opacity.map({1.0: 0.0, 0.0: np.nan})
        return pd.DataFrame({LABELS[0]: opacity, LABELS[1]: other, LABELS[2]: other})
    path = find_file(root, source.class_info, f"data.sources.{name}.class_info")
    rows = read_csv(path, ["patientId", "class"]).drop_duplicates()
    unknown = sorted(set(rows["class"].dropna()) - set(LABELS))
    if unknown:
        raise UserError(f"{path}: unknown class {unknown[0]!r}; RSNA's are {', '.join(LABELS)}")
    if (twice := rows["patientId"].duplicated()).any():
        raise UserError(f"{path}: {rows['patientId'][twice].iloc[0]} has several classes; leave one of its lines")
    classes = rows.set_index("patientId")["class"].reindex(boxes.index)
    if ((classes == LABELS[0]) != (opacity == 1))[classes.notna()].any():
        raise UserError(f"{path}: classes and boxes contradict each other; it does not belong to {source.labels}")
    return pd.DataFrame({label: (classes == label).astype(float).where(classes.notna()) for label in LABELS})
