from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from datamodules.sources.split import shared_patients
from datamodules.sources.table import assemble, attribute_columns, label_columns, load_tables
from experiments.errors import UserError
from experiments.schema import Data, Duplicates, SplitPolicy, Task
from experiments.source_schema import CovidxSource, FolderSource, NihSource, RsnaSource, WacxrSource


def four_sources(root: Path, **settings: Any) -> Data:
    sources = {
        "nih": NihSource(root=f"{root}/nih"),
        "covidx": CovidxSource(root=f"{root}/covidx"),
        "rsna": RsnaSource(root=f"{root}/rsna"),
        "wacxr": WacxrSource(root=f"{root}/wacxr"),
    }
    return Data(root=str(root), sources=sources, **settings)


@pytest.mark.parametrize("which", ["demo_data", "mini_cxr"])
def test_no_patient_in_two_splits(which: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> None:
    data = four_sources(request.getfixturevalue(which))
    with caplog.at_level(logging.WARNING, "covidmt"):
        tables = load_tables(data)
    assert list(tables) == ["nih", "covidx", "rsna", "wacxr"]
    assert shared_patients(tables).empty
    assert re.search(r"covidx: [1-9]\d* of \d+ images left out, because their patients", caplog.text)
    for name, table in tables.items():
        assert table["split"].isin(["train", "val", "test"]).all()
        assert (table["source"] == name).all()
        assert all(pd.api.types.is_float_dtype(table[label]) for label in label_columns(table))
    assert set(tables["wacxr"]["split"]) == {"test"}
    assert set(tables["rsna"]["split"]) == {"train", "val", "test"}


def test_texts_are_no_labels_and_a_task_can_learn_them(mini_cxr: Path) -> None:
    views = Task("views", "nih", column="projection", labels=["AP", "PA"])
    formats = Task("formats", "covidx", column="file_format", labels=["JPEG", "PNG"])
    tables = load_tables(four_sources(mini_cxr), tasks=[views, formats, Task("mass", "nih", labels=["Mass"])])
    nih, covidx = tables["nih"], tables["covidx"]
    assert attribute_columns(nih) == ["source", "origin", "projection", "file_format"]
    assert label_columns(covidx) == ["normal", "pneumonia", "COVID-19", "JPEG", "PNG"]
    assert (nih["PA"] == (nih["projection"] == "PA")).all()
    assert (covidx["JPEG"] == covidx["image"].str.contains(r"\.jpe?g$", case=False)).all()
    assert (tables["rsna"]["file_format"] == "DICOM").all()

    for column, label, words in (
        (
            "projektion",
            "PA",
            "no text column 'projektion'; did you mean 'projection'.*it has source, origin, .*projection",
        ),
        ("Mass", "1", "no text column 'Mass'"),
        ("origin", "Mass", "'Mass' is a column of source 'nih' too"),
    ):
        with pytest.raises(UserError, match=words):
            load_tables(four_sources(mini_cxr), tasks=[Task("t", "nih", column=column, labels=[label])])


def test_paper_policy_counts_shared_patients(mini_cxr: Path) -> None:
    assembly = assemble(four_sources(mini_cxr, split_policy=SplitPolicy.paper))
    assert "patients are in more than one split" in assembly.notes.risks[-1]
    assert assembly.tables["covidx"]["split"].value_counts().to_dict() == {"train": 241, "test": 69, "val": 34}
    assert assembly.tables["rsna"]["split"].value_counts().to_dict() == {"train": 172, "val": 57}


def test_the_split_does_not_depend_on_the_named_sources(demo_data: Path) -> None:
    data = four_sources(demo_data)
    alone = load_tables(data, ["covidx"])
    assert list(alone) == ["covidx"]
    pd.testing.assert_frame_equal(alone["covidx"], load_tables(data)["covidx"])


def test_equal_files_become_one_patient(tmp_path: Path) -> None:
    for name, content in (("train/sick/a.png", b"1"), ("test/well/b.png", b"1"), ("train/sick/c.png", b"22")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    data = Data(sources={"own": FolderSource(root=str(tmp_path))}, duplicates=Duplicates.join)
    assembly = assemble(data)
    splits = dict(zip(assembly.tables["own"]["image"].str[-5:], assembly.tables["own"]["split"], strict=True))
    assert splits["b.png"] == "test"
    assert pd.isna(splits["a.png"])  # its patient is tested on
    assert (
        "2 image files are equal to another one: data.duplicates=join made 3 patients 1 fewer" in assembly.notes.lines
    )


def test_absent_sources(demo_data: Path) -> None:
    data = four_sources(demo_data)
    data.sources["wacxr"].root = data.sources["nih"].root = "nowhere"
    assembly = assemble(data, ["covidx", "rsna"])
    assert list(assembly.tables) == ["covidx", "rsna"]
    assert sum("not read, so its patients are not kept apart" in note for note in assembly.notes.lines) == 2
    with pytest.raises(UserError, match=r"data\.sources\.nih\.root: no folder nowhere"):
        load_tables(data)
    with pytest.raises(UserError, match=r"data\.sources\.wacxr\.root"):
        load_tables(data, ["covidx", "wacxr"])
    with pytest.raises(UserError, match="no source 'covid'; did you mean 'covidx'"):
        load_tables(data, ["covid"])
