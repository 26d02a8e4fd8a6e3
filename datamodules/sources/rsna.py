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

from datamodules.reading.boxes import read_frame, refuse_outside
from datamodules.reading.labels import spell_as
from datamodules.reading.listing import scan_folders
from datamodules.sources.files import find_file, read_csv, source_root
from datamodules.sources.notes import SourceNotes, drop_missing
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.names import name_key
from experiments.source_schema import RsnaSource

LABELS = RsnaSource.published


def read_rsna(source: RsnaSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    """Read RSNA's challenge into a sample table: one row an image, no published split.

    ``boxes`` are (n, 4) float32 xyxy in pixels of ``frame``, which is that of RSNA's files.

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
    key = f"data.sources.{name}"
    frame = read_frame(source.frame, key)
    boxes = read_boxes(find_file(root, source.labels, f"{key}.labels"), frame, key)
    classes = _classes(root, source, name, boxes)
    found = scan_folders(root / source.images)
    notes.add_others(name, found.others, root / source.images)
    stems = {name_key(stem): path for stem, path in found.by_stem.items()}

    # images whose patient is unknown
    unmapped = sum(rsna_id not in patients.nih_images for rsna_id in boxes.index)
    notes.add_unknown_patients(
        name,
        unmapped,
        len(boxes),
        f"They are not in RSNA's mapping to NIH (data.sources.{name}.mapping); RSNA publishes the file.",
    )

    table = pd.DataFrame(
        {
            "file": boxes.index + ".dcm",
            "image": [stems.get(name_key(rsna_id)) for rsna_id in boxes.index],
            "patient": [patients.of_rsna(rsna_id) for rsna_id in boxes.index],
            "split": pd.Series(pd.NA, boxes.index, dtype="str"),
            "source": name,
            "origin": "rsna",
            **{label: classes[label] for label in LABELS},
            "boxes": boxes,
        }
    )
    if frame:
        table["frame"] = [frame] * len(table)
    return drop_missing(table, name, root / source.images, notes)


def read_boxes(path: Path, frame: tuple[int, int] | None = None, key: str = "data.sources.rsna") -> pd.Series:
    r"""Read the boxes of each image, in the order of the ids.

    Args:
        path: ``stage_2_train_labels.csv``.
        frame: Width and height of the images that the boxes are drawn for; None: each image's own.
        key: The source's key, for messages.

    Returns:
        RSNA id -> (n, 4) float32 xyxy, n = 0 for a negative image; identical rows are one box.

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

    refuse_outside(np.where(has_box[:, None], corners, np.nan), frame, path, key)
    has_box &= ~pd.DataFrame(corners).assign(code=codes).duplicated().to_numpy()  # identical rows

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
    rows = read_csv(path, ["patientId", "class"])
    rows = rows.assign(**{"class": spell_as(rows["class"], LABELS)}).drop_duplicates()
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
