from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.table import label_columns
from datamodules.sources.user_csv import read_user_csv
from experiments.errors import UserError
from experiments.source_schema import CsvSource


def write(root: Path, table: str, **settings: Any) -> CsvSource:
    (root / "t.csv").write_text(table)
    (root / "x").mkdir(exist_ok=True)
    for name in ("a.png", "b.png", "00000007_001.png"):
        (root / "x" / name).touch()
    return CsvSource(root=str(root), table="t.csv", **settings)


def test_columns(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "file;who;part;tb;note\nx/a.png;p1;Training;1;\nx/b.png;site:2;validation;0;q\nx/00000007_001.png;;TEST;;\nx/no.png;p3;test;1;\n",
        separator=";",
        image_column="file",
        patient_column="who",
        split_column="part",
        labels={"tuberculosis": "tb"},
    )
    notes = SourceNotes()
    table = read_user_csv(source, "mine", PatientRegistry(), notes)
    assert [Path(i) for i in table["image"]] == [tmp_path / "x" / n for n in ("a.png", "b.png", "00000007_001.png")]
    assert table["patient"].tolist() == ["mine:p1", "site:2", "nih:00000007"]
    assert table["split"].tolist() == ["train", "val", "test"]
    assert table["tuberculosis"].fillna(-1).tolist() == [1, 0, -1]
    assert "1 of 4 listed images" in notes.problems[0]
    assert "x/no.png" in notes.problems[0]
    assert notes.missing == {"mine": ["x/no.png"]}


def test_attributes_are_texts_beside_the_labels(tmp_path: Path) -> None:
    text = "image,tb,room,view\nx/a.png,1,ICU,AP\nx/b.png,0,,PA\n"
    settings: dict[str, Any] = {"labels": {"tuberculosis": "tb"}, "attributes": {"ward": "room", "projection": "view"}}
    table = read_user_csv(write(tmp_path, text, **settings), "mine", PatientRegistry(), SourceNotes())
    assert table["ward"].fillna("-").tolist() == ["ICU", "-"]
    assert table["projection"].tolist() == ["AP", "PA"]
    assert label_columns(table) == ["tuberculosis"]
    for attributes, words in {
        "tuberculosis": "'tuberculosis' is a label too",
        "split": "no label can be called 'split'",
    }.items():
        source = write(tmp_path, text, labels={"tuberculosis": "tb"}, attributes={attributes: "room"})
        with pytest.raises(UserError, match=words):
            read_user_csv(source, "mine", PatientRegistry(), SourceNotes())


def test_patients_do_not_depend_on_how_paths_are_written(tmp_path: Path) -> None:
    source = write(tmp_path, f"image\n{tmp_path}/x/a.png\n./x/b.png\n")
    assert read_user_csv(source, "m", PatientRegistry(), SourceNotes())["patient"].tolist() == [
        "m:x/a.png",
        "m:x/b.png",
    ]


def test_label_column_and_no_split(tmp_path: Path) -> None:
    source = write(tmp_path, "image,kind\nx/a.png,mass|nodule\nx/b.png,\n", label_column="kind")
    table = read_user_csv(source, "m", PatientRegistry(), SourceNotes())
    assert table["mass"].tolist()[0] == table["nodule"].tolist()[0] == 1
    assert table[["mass", "nodule"]].iloc[1].isna().all()
    assert table["split"].isna().all()
    assert table["patient"].tolist() == ["m:x/a.png", "m:x/b.png"]


def test_a_row_a_box(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "image,l,t,r,b,sick\nx/a.png,1,2,3,4,1\nx/b.png,,,,,0\n./x//a.png,5,6,7,8.5,1\n",
        box_columns=["l", "t", "r", "b"],
        labels={"sick": "sick"},
    )
    table = read_user_csv(source, "m", PatientRegistry(), SourceNotes())
    assert len(table) == 2
    assert table["boxes"][0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5]]
    assert table["boxes"][1].shape == (0, 4)
    assert table["boxes"][0].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("image,y\nx/a.png,1\n", {"labels": {"y": "z"}}, "no column 'z'; it has 'image', 'y'"),
        ("image,y\nx/a.png,yes\n", {"labels": {"y": "y"}}, "line 2: y is 'yes'; allowed: 1, 0 or blank"),
        (
            "image,y\nx/a.png,left\n",
            {"labels": {"left": "y", "right": "y"}},
            "the column 'y' is named for several things; a column of words is named by label_column",
        ),
        (
            "image,s\nx/a.png,train\nx/b.png,dev\n",
            {"split_column": "s"},
            "line 3: s is 'dev'; allowed: train, val or test",
        ),
        ("image,y\nx/a.png,1\n,1\n", {}, "line 3: image is blank"),
        ("image,y\nx/a.png,1\nx/a.png,0\n", {"labels": {"y": "y"}}, "x/a.png disagree"),
        (
            "image,y,s\nx/a.png,1,train\n./x/a.png,0,test\n",
            {"labels": {"y": "y"}, "split_column": "s"},
            "x/a.png disagree",
        ),
        ("image,a,b,c,d\nx/a.png,1,2,,4\n", {"box_columns": ["a", "b", "c", "d"]}, "line 2: c is nan"),
        ("image,a,b,c,d\nx/a.png,9,2,3,4\n", {"box_columns": ["a", "b", "c", "d"]}, "line 2: box is '9, 2, 3, 4'"),
        ("image,a\nx/a.png,9\n", {"box_columns": ["a"]}, "four columns"),
        ("image,a\nx/a.png,9\n", {"labels": {"a": "a"}, "label_column": "a"}, "exclude each other"),
        ("image\nx/none.png\n", {}, r"no listed image.*x/none\.png"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_user_csv(write(tmp_path, text, **settings), "m", PatientRegistry(), SourceNotes())


def test_labels_with_blanks_empty_entries_and_words_for_none(tmp_path: Path) -> None:
    for separator in "|;":
        text = f"image#kind\nx/a.png#mass {separator} nodule{separator}\nx/b.png# None \n"
        text += f"x/00000007_001.png#{separator}\n"
        source = write(tmp_path, text, separator="#", label_column="kind", label_separator=separator)
        table = read_user_csv(source, "m", PatientRegistry(), SourceNotes())
        assert table[["mass", "nodule", "None"]].fillna(-1).to_numpy().tolist() == [[1, 1, 0], [0, 0, 1], [-1, -1, -1]]


def test_names_in_another_spelling_are_the_same_image(tmp_path: Path) -> None:
    text = "image,who,y\nX/A.PNG,p,1\nx/a.png,p,1\nx/ B.png,q,0\n"
    source = write(tmp_path, text, patient_column="who", labels={"y": "y"})
    notes = SourceNotes()
    table = read_user_csv(source, "m", PatientRegistry(), notes)
    assert [Path(image).name for image in table["image"]] == ["a.png", "b.png"]
    assert notes.counts["m"]["missing"] == 0


def test_what_is_no_image_is_counted_but_not_beside_the_table(tmp_path: Path) -> None:
    source, notes = write(tmp_path, "image\nx/a.png\n"), SourceNotes()
    for name in ("x/Thumbs.db", "x/._a.png", "README.txt"):
        (tmp_path / name).touch()
    read_user_csv(source, "m", PatientRegistry(), notes)
    assert notes.lines == [f"m: of the files in {tmp_path}, 2 are no images: ._a.png, Thumbs.db"]


def test_boxes_of_a_frame(tmp_path: Path) -> None:
    text = "image,l,t,r,b\nx/a.png,10,20,30,40\nx/a.png,10,20,30,40\nx/b.png,500,400,640,480\n"
    source = write(tmp_path, text, box_columns=["l", "t", "r", "b"], frame=[640, 480])
    table = read_user_csv(source, "m", PatientRegistry(), SourceNotes())
    assert table["boxes"][0].tolist() == [[10, 20, 30, 40]]  # identical rows are one box
    assert table["frame"].tolist() == [(640, 480), (640, 480)]
    source.frame = [320, 240]
    with pytest.raises(UserError, match=r"t\.csv, line 4: the box 500, 400, 640, 480 lies outside of the 320x240"):
        read_user_csv(source, "m", PatientRegistry(), SourceNotes())


def test_patients_are_said_to_be_unknown(tmp_path: Path) -> None:
    notes = SourceNotes()
    read_user_csv(write(tmp_path, "image\nx/a.png\nx/b.png\nx/a.png\n"), "m", PatientRegistry(), notes)
    assert notes.risks[0].startswith("m: no patient known for 2 of 2 images: this is a split by image")
    assert "data.sources.m.patient_column" in notes.risks[0]
