from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.rsna import read_rsna
from experiments.errors import UserError
from experiments.source_schema import RsnaSource

LABELS = "patientId,x,y,width,height,Target\nb,10,20,30,40,1\na,,,,,0\nb,1.5,2,3,4,1\nc,,,,,0\n"
CLASSES = "patientId,class\nb,Lung Opacity\nb,Lung Opacity\na,Normal\nc,No Lung Opacity / Not Normal\n"


@pytest.fixture
def source(tmp_path: Path) -> RsnaSource:
    (tmp_path / "stage_2_train_images").mkdir()
    for name in "abc":
        (tmp_path / "stage_2_train_images" / f"{name}.dcm").touch()
    (tmp_path / "stage_2_train_labels.csv").write_text(LABELS)
    (tmp_path / "stage_2_detailed_class_info.csv").write_text(CLASSES)
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").write_text(
        '[{"subset_img_id": "a", "img_id": "00000007_001.png"}, {"subset_img_id": "b", "img_id": "00000007_002.png"}]'
    )
    return RsnaSource(root=str(tmp_path))


def test_label_rows_become_images(source: RsnaSource) -> None:
    notes = SourceNotes()
    table = read_rsna(source, "rsna", PatientRegistry(), notes)
    assert [Path(image).stem for image in table["image"]] == ["a", "b", "c"]
    assert table["patient"].tolist() == ["nih:00000007", "nih:00000007", "rsna:c"]
    assert table["boxes"][1].tolist() == [[10, 20, 40, 60], [1.5, 2, 4.5, 6]]
    assert [boxes.shape for boxes in table["boxes"]] == [(0, 4), (2, 4), (0, 4)]
    assert table["boxes"][0].dtype == np.float32
    columns = ["Lung Opacity", "Normal", "No Lung Opacity / Not Normal"]
    assert table[columns].to_numpy().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert table["split"].isna().all()
    assert notes.risks[0].startswith("rsna: no patient known for 1 of 3 images: these are split by image")


def test_without_classes_and_mapping(source: RsnaSource) -> None:
    source.class_info = source.mapping = None
    notes = SourceNotes()
    table = read_rsna(source, "rsna", PatientRegistry(), notes)
    assert table["Lung Opacity"].tolist() == [0, 1, 0]
    assert table["Normal"].isna().tolist() == [True, False, True]
    assert table["patient"].tolist() == ["rsna:a", "rsna:b", "rsna:c"]
    assert notes.risks[0].startswith("rsna: no patient known for 3 of 3 images: this is a split by image")
    assert "RSNA's mapping to NIH" in notes.risks[0]


@pytest.mark.parametrize(
    ("labels", "classes", "says"),
    [
        ("patientId,x,y,width,height\n", CLASSES, r"labels\.csv: no column 'Target'"),
        (LABELS.replace("20", "oops"), CLASSES, r"labels\.csv, line 2: the box is no number"),
        (LABELS.replace("10,20,30,40", ",,,"), CLASSES, r"labels\.csv, line 2: Target is 1 but the box is blank"),
        (LABELS.replace("a,,", ",,"), CLASSES, r"labels\.csv, line 3: patientId is blank"),
        (LABELS.splitlines()[0] + "\n", CLASSES, r"labels\.csv: has a header but no rows"),
        ("", CLASSES, r"labels\.csv: cannot be read as CSV"),
        (LABELS, CLASSES.replace("Normal\n", "Healthy\n", 1), r"class_info\.csv: unknown class 'Healthy'"),
        (LABELS, CLASSES.replace("a,Normal", "a,Lung Opacity"), r"contradict"),
    ],
)
def test_wrong_files(source: RsnaSource, labels: str, classes: str, says: str) -> None:
    (Path(source.root) / source.labels).write_text(labels)
    (Path(source.root) / "stage_2_detailed_class_info.csv").write_text(classes)
    with pytest.raises(UserError, match=says):
        read_rsna(source, "rsna", PatientRegistry(), SourceNotes())


def test_boxes_in_rsnas_frame_and_identical_rows(source: RsnaSource) -> None:
    path = Path(source.root) / source.labels
    path.write_text(LABELS + "b,10,20,30,40,1\n")
    table = read_rsna(source, "rsna", PatientRegistry(), SourceNotes())
    assert table["boxes"][1].tolist() == [[10, 20, 40, 60], [1.5, 2, 4.5, 6]]
    assert table["frame"].tolist() == [(1024, 1024)] * 3
    path.write_text(LABELS + "b,1000,20,300,40,1\n")
    with pytest.raises(UserError, match=r"line 6: the box 1000, 20, 1300, 60 lies outside of the 1024x1024 pixels"):
        read_rsna(source, "rsna", PatientRegistry(), SourceNotes())
    source.frame = None  # each file's own pixels
    assert "frame" not in read_rsna(source, "rsna", PatientRegistry(), SourceNotes())


def test_classes_and_files_in_another_spelling(source: RsnaSource) -> None:
    root = Path(source.root)
    (root / "stage_2_detailed_class_info.csv").write_text(CLASSES.replace("a,Normal", "a, NORMAL "))
    (root / "stage_2_train_images" / "a.dcm").rename(root / "stage_2_train_images" / "A.DCM")
    table = read_rsna(source, "rsna", PatientRegistry(), SourceNotes())
    assert table["Normal"].tolist() == [1, 0, 0]
    assert Path(table["image"][0]).name == "A.DCM"


def test_real_files(mini_cxr: Path) -> None:
    notes = SourceNotes()
    table = read_rsna(RsnaSource(root=str(mini_cxr / "rsna")), "rsna", PatientRegistry(), notes)
    assert notes.lines == notes.risks == notes.problems == []
    assert len(table) == 229
    assert sum(map(len, table["boxes"])) == 205
    assert (table["boxes"].map(len) > 0).sum() == table["Lung Opacity"].sum() == 129
    assert table["patient"].str.startswith("nih:").all()
