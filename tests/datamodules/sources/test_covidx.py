from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.sources.covidx import Line, read_covidx, read_list
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.source_schema import CovidxSource

RSNA = "03cd7a5b-d5d7-40a1-81b1-c4264920530a"


def write(root: Path, lists: dict[str, str], files: dict[str, list[str]]) -> CovidxSource:
    for name, text in lists.items():
        (root / name).write_text(text)
    for folder, names in files.items():
        (root / folder).mkdir(exist_ok=True)
        for name in names:
            (root / folder / name).touch()
    return CovidxSource(root=str(root))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("3 SARS-1.jpeg pneumonia cohen", Line(["3", "SARS-1.jpeg"], "pneumonia", "cohen")),  # v3 and later
        ("12 scan.jpeg COVID-19", Line(["12", "scan.jpeg"], "covid-19", None)),  # v1, v2
        ("COVID 70 COVID(70).png COVID-19 sirm", Line(["COVID", "70", "COVID(70).png"], "covid-19", "sirm")),  # v7, v8
        ("COVID_1 COVID (1).png COVID-19", Line(["COVID_1", "COVID", "(1).png"], "covid-19", None)),
        (f"{RSNA} {RSNA}.png negative rnsa", Line([RSNA, f"{RSNA}.png"], "negative", "rsna")),  # v9's typo
        ("ANON193 CR.1.2.png positive actmed", Line(["ANON193", "CR.1.2.png"], "positive", "actmed")),  # binary
    ],
)
def test_line_formats(tmp_path: Path, text: str, line: Line) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"\ufeff{text}\r\n\n")
    assert list(read_list(path)) == [line]


@pytest.mark.parametrize("text", ["1 a.png level2 ricord", "a.png normal", "normal", "1 a.png"])
def test_a_wrong_line_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"1 a.png normal rsna\n{text}\n")
    with pytest.raises(UserError, match=r"list\.txt, line 2"):
        list(read_list(path))


def test_a_list_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("1 Röntgen.png normal\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"list\.txt: cannot be read as UTF-8"):
        list(read_list(path))


def test_table(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        {
            "train_COVIDx.txt": f"{RSNA} {RSNA}.png normal\nCOVID 70 COVID(70).png COVID-19 sirm\n"
            "5 gone.png pneumonia cohen\n",
            "val_COVIDx.txt": "5 a.jpg pneumonia cohen\n",
            "test_COVIDx.txt": "6 b c.jpg positive cohen\n7 d.jpg negative cohen\n",
        },
        {"train": [f"{RSNA}.png", "COVID (70).png", "a.jpg"], "test": ["b c.jpg", "d.jpg"]},  # val lies in train/
    )
    notes = SourceNotes()
    registry = PatientRegistry({RSNA: "00001836_010.png"})
    table: Any = read_covidx(source, "covidx", registry, notes).set_index("patient")
    assert table["split"].to_dict() == {
        "cohen:6": "test",
        "cohen:7": "test",
        "cohen:5": "val",
        "nih:00001836": "train",
        "sirm:COVID(70)": "train",
    }
    assert Path(table.loc["cohen:5", "image"]) == tmp_path / "train" / "a.jpg"
    assert Path(table.loc["sirm:COVID(70)", "image"]).name == "COVID (70).png"
    assert table.loc["cohen:6", ["normal", "pneumonia", "COVID-19"]].tolist() == [0, 0, 1]
    negative = table.loc["cohen:7", ["normal", "pneumonia", "COVID-19"]].tolist()
    assert np.isnan(negative[:2]).all()  # what a negative image shows instead is unknown
    assert negative[2] == 0
    assert table.loc["nih:00001836", "origin"] == "rsna"
    assert len(notes.problems) == 1
    assert "1 of 6 listed images" in notes.problems[0]
    assert "gone.png" in notes.problems[0]
    assert registry.known["bc"] == "cohen:6"


def test_without_validation_list_training_is_open(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        {"train.txt": "1 a.png normal cohen", "test.txt": "2 b.png normal cohen"},
        {"train": ["a.png"], "test": ["b.png"]},
    )
    assert read_covidx(source, "covidx", PatientRegistry(), SourceNotes()).set_index("patient")["split"].to_dict() == {
        "cohen:1": "train_val",
        "cohen:2": "test",
    }


def test_an_image_in_two_lists_is_tested_on(tmp_path: Path) -> None:
    lists = {"train.txt": "1 a.png normal cohen\n2 b.png normal cohen", "test.txt": "1 a.png normal cohen"}
    source, notes = write(tmp_path, lists, {"train": ["a.png", "b.png"]}), SourceNotes()
    table = read_covidx(source, "covidx", PatientRegistry(), notes)
    assert table["split"].tolist() == ["test", "train_val"]
    assert "1 images are listed twice" in notes.lines[0]


def test_ambiguous_and_missing_lists(tmp_path: Path) -> None:
    source = write(tmp_path, {"train_8A.txt": "", "train_8B.txt": ""}, {"train": []})
    with pytest.raises(UserError, match=r"data\.sources\.x\.train_list: .* several .*train_8A\.txt, train_8B\.txt"):
        read_covidx(source, "x", PatientRegistry(), SourceNotes())
    source.train_list = "train_9.txt"
    with pytest.raises(UserError, match=r"train_list: no file 'train_9\.txt'"):
        read_covidx(source, "x", PatientRegistry(), SourceNotes())
    source.train_list, source.test_list = "train_8A.txt", "typo.txt"  # named without a pattern: it must be there
    with pytest.raises(UserError, match=r"test_list: no file 'typo\.txt'"):
        read_covidx(source, "x", PatientRegistry(), SourceNotes())


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path, {"train.txt": "1 a.png normal cohen"}, {})
    with pytest.raises(UserError, match=r"data\.sources\.x: no listed image.*a\.png"):
        read_covidx(source, "x", PatientRegistry(), SourceNotes())
    with pytest.raises(UserError, match=r"data\.sources\.x\.root: no folder"):
        read_covidx(CovidxSource(root=str(tmp_path / "none")), "x", PatientRegistry(), SourceNotes())


def test_real_lists(mini_cxr: Path) -> None:
    notes = SourceNotes()
    table = read_covidx(CovidxSource(root=str(mini_cxr / "covidx")), "covidx", PatientRegistry(), notes)
    assert notes.lines == notes.risks == notes.problems == []
    sums = table.groupby("split")[["COVID-19", "normal", "pneumonia"]].sum()
    assert sums.loc[["train", "val", "test"]].to_numpy().tolist() == [[87, 77, 77], [12, 11, 11], [25, 22, 22]]
