from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.sources.patients import PatientRegistry
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
    notes: list[str] = []
    table = read_user_csv(source, "mine", PatientRegistry(), notes)
    assert [Path(i) for i in table["image"]] == [tmp_path / "x" / n for n in ("a.png", "b.png", "00000007_001.png")]
    assert table["patient"].tolist() == ["mine:p1", "site:2", "nih:00000007"]
    assert table["split"].tolist() == ["train", "val", "test"]
    assert table["tuberculosis"].fillna(-1).tolist() == [1, 0, -1]
    assert "1 of 4 listed images" in notes[0]
    assert "x/no.png" in notes[0]


def test_patients_do_not_depend_on_how_paths_are_written(tmp_path: Path) -> None:
    source = write(tmp_path, f"image\n{tmp_path}/x/a.png\n./x/b.png\n")
    assert read_user_csv(source, "m", PatientRegistry(), [])["patient"].tolist() == ["m:x/a.png", "m:x/b.png"]


def test_label_column_and_no_split(tmp_path: Path) -> None:
    table = read_user_csv(
        write(tmp_path, "image,kind\nx/a.png,mass|nodule\nx/b.png,\n", label_column="kind"), "m", PatientRegistry(), []
    )
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
    table = read_user_csv(source, "m", PatientRegistry(), [])
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
        read_user_csv(write(tmp_path, text, **settings), "m", PatientRegistry(), [])
