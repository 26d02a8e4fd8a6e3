"""RSNA Pneumonia Detection Challenge, stage 2: chest X-rays with boxes around lung opacities.

The images are NIH ChestX-ray14's under other names, read again by radiologists; RSNA's "patientId" is an image's id.
RSNA publishes which NIH image each is: without this mapping patients cannot be kept apart.

Format:
    1024-px DICOM files (8-bit MONOCHROME2, baseline JPEG) in ``stage_2_train_images/``;
    ``stage_2_train_labels.csv`` with a row a box, or one row without a box; ``stage_2_detailed_class_info.csv`` with
    the class; ``pneumonia-challenge-dataset-mappings_2018.json`` with the NIH image of each id.
Classes:
    Lung Opacity (those with boxes), Normal, No Lung Opacity / Not Normal.
Images:
    26,684 of 11,439 patients, in 30,227 rows.
How to get it:
    Kaggle, ``rsna-pneumonia-detection-challenge``; the mapping from RSNA's page of the challenge.
Cite:
    G. Shih et al.: Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of
    Possible Pneumonia. Radiology: Artificial Intelligence 1(1), e180041 (2019).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.sources.files import drop_missing, find_file, list_images, read_csv, source_root
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.source_schema import RsnaSource

LABELS = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")


def read_rsna(source: RsnaSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
    """Read RSNA's challenge into a sample table: one row an image, no published split.

    ``boxes`` are (n, 4) float32 xyxy in DICOM pixels.

    Args:
        source: Folder and files.
        name: The source's name in the YAML.
        patients: Learns RSNA's mapping to NIH.
        notes: Gets what a person should know.

    Raises:
        UserError: A missing file or column, a box that is no number, an unknown class, or no image found.
    """
    root = source_root(source, name)

    # files
    if source.mapping and any(path.is_file() for path in root.glob(source.mapping)):
        patients.read_mapping(find_file(root, source.mapping, f"data.sources.{name}.mapping"))
    boxes = read_boxes(find_file(root, source.labels, f"data.sources.{name}.labels"))
    classes = _classes(root, source, name, boxes)
    images = list_images(root / source.images)
    stems = {Path(file).stem: path for file, path in images.items()}

    # images whose patient is unknown
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
    r"""Read the boxes of each image, in the order of the ids.

    Args:
        path: ``stage_2_train_labels.csv``.

    Returns:
        RSNA id -> (n, 4) float32 xyxy, n = 0 for a negative image.

    Raises:
        UserError: A line that contradicts itself or another line.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels.csv")
        ...     rows = "a,10,20,30,40,1\na,50,60,10,10,1\nb,,,,,0\n"
        ...     _ = path.write_text("patientId,x,y,width,height,Target\n" + rows)
        ...     boxes = read_boxes(path)
        >>> boxes["a"].tolist(), boxes["b"].shape
        ([[10.0, 20.0, 40.0, 60.0], [50.0, 60.0, 60.0, 70.0]], (0, 4))
    """
    rows = read_csv(path, ["patientId", "x", "y", "width", "height", "Target"])
    if rows.empty:
        raise UserError(f"{path}: has a header but no rows; copy it again")
    anonymous = rows["patientId"].isna()
    if anonymous.any():
        raise UserError(f"{path}, line {int(anonymous.to_numpy().argmax()) + 2}: patientId is blank")

    # numbers
    texts = rows[["x", "y", "width", "height", "Target"]]
    numbers = texts.apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    corners = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]], axis=1)
    has_box = numbers[:, 4] == 1
    ids, codes = np.unique(rows["patientId"].to_numpy(dtype=object), return_inverse=True)

    # lines that cannot be right
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

    # the boxes of each id, by one sort
    order = np.argsort(codes[has_box], kind="stable")
    ends = np.cumsum(np.bincount(codes[has_box], minlength=len(ids)))
    return pd.Series(np.split(corners[has_box][order], ends[:-1]), index=pd.Index(ids, name="patientId"), dtype=object)


def _classes(root: Path, source: RsnaSource, name: str, boxes: pd.Series) -> pd.DataFrame:
    """Return 1 / 0 a class; without the class file an image without boxes is of either of the two other classes."""
    opacity = pd.Series([float(len(b) > 0) for b in boxes], boxes.index)
    if source.class_info is None:
        other = opacity.map({1.0: 0.0, 0.0: np.nan})
        return pd.DataFrame({LABELS[0]: opacity, LABELS[1]: other, LABELS[2]: other})
    path = find_file(root, source.class_info, f"data.sources.{name}.class_info")
    rows = read_csv(path, ["patientId", "class"]).drop_duplicates()
    unknown = sorted(set(rows["class"].dropna()) - set(LABELS))
    if unknown:
        raise UserError(f"{path}: unknown class {unknown[0]!r}; RSNA's are {', '.join(LABELS)}")
    repeated = rows["patientId"].duplicated()
    if repeated.any():
        raise UserError(f"{path}: {rows['patientId'][repeated].iloc[0]} has several classes; leave one of its lines")
    classes = rows.set_index("patientId")["class"].reindex(boxes.index)
    if ((classes == LABELS[0]) != (opacity == 1))[classes.notna()].any():
        raise UserError(f"{path}: classes and boxes contradict each other; it does not belong to {source.labels}")
    return pd.DataFrame({label: (classes == label).astype(float).where(classes.notna()) for label in LABELS})
