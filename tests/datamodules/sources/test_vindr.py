from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.vindr import read_vindr
from experiments.errors import UserError
from experiments.source_schema import VindrSource

HEADER = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
TRAIN = (
    "a,R1,Nodule/Mass,10,10,30,30\n"
    "a,R2,Nodule/Mass,12,12,32,32\n"
    "a,R3,Nodule/Mass,100,100,120,120\n"  # another place, by one alone
    "a,R1,Pneumonia,,,,\n"
    "a,R2,Edema,5,5,9,9\n"  # one of three
    "b,R1,No finding,,,,\n"
    "b,R2,No finding,,,,\n"
    "b,R3,no finding ,,,,\n"
)
TEST = "image_id,class_name,x_min,y_min,x_max,y_max\nc,Edema,1,2,3,4\nc,Edema,50,50,60,60\n"


@pytest.fixture(params=["", "annotations"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> VindrSource:
    for file in ("train/a.dicom", "train/b.DICOM", "test/c.dicom"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    place = tmp_path / request.param
    place.mkdir(exist_ok=True)
    (place / "annotations_train.csv").write_text(HEADER + TRAIN)
    (place / "annotations_test.csv").write_text(TEST)
    return VindrSource(root=str(tmp_path))


def read(source: VindrSource, notes: SourceNotes | None = None) -> Any:
    return read_vindr(source, "vindr", PatientRegistry(), notes or SourceNotes())


def test_what_most_radiologists_say(source: VindrSource) -> None:
    notes = SourceNotes()
    table = read(source, notes)
    assert [Path(image).name for image in table["image"]] == ["a.dicom", "b.DICOM", "c.dicom"]
    assert table["split"].tolist() == ["train_val", "train_val", "test"]
    assert table[["Edema", "Nodule/Mass", "Pneumonia"]].to_numpy().tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert table["boxes"][0].tolist() == [[11, 11, 31, 31]]
    assert [len(boxes) for boxes in table["boxes"]] == [1, 0, 2]  # of a consensus every box counts
    assert notes.risks[0].startswith("vindr: no patient known for 3 of 3 images: this is a split by image")


def test_other_agreements_and_boxes_of_some_classes(source: VindrSource) -> None:
    source.agreement = 1
    table = read(source)
    assert table[["Edema", "Nodule/Mass", "Pneumonia"]].iloc[0].tolist() == [1, 1, 1]
    assert len(table["boxes"][0]) == 3
    source.box_labels = ["Edema"]
    assert [len(boxes) for boxes in read(source)["boxes"]] == [1, 0, 2]
    source.box_labels = ["Edma"]
    with pytest.raises(UserError, match=r"data\.sources\.vindr\.box_labels: no class 'Edma'; did you mean 'Edema'"):
        read(source)


def test_kaggles_release_has_one_table(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.dicom").touch()
    (tmp_path / "train.csv").write_text(HEADER.replace("rad_id", "rad_id") + TRAIN.split("b,")[0])
    table = read(VindrSource(root=str(tmp_path), train_boxes="train.csv"))
    assert table["split"].tolist() == ["train_val"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a,R1,Edema,x,5,9,9\n", "line 10: the box is no number"),
        ("a,R1,Edema,,5,9,9\n", "line 10: the box is no number"),
        ("a,R1,Edema,9,5,5,9\n", "line 10: the box has no width or no height"),
        ("a,R1,,1,5,5,9\n", "line 10: image_id or class_name is blank"),
    ],
)
def test_wrong_lines(source: VindrSource, line: str, says: str) -> None:
    (path,) = Path(source.root).rglob("annotations_train.csv")
    path.write_text(HEADER + TRAIN + line)
    with pytest.raises(UserError, match=says):
        read(source)
