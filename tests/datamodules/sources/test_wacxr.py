from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.wacxr import read_wacxr
from experiments.errors import UserError
from experiments.source_schema import WacxrSource

FILES = {
    "covid_binary_test/0_NON_COVID": ["00000007_001.png", "alone.png"],
    "covid_binary_test/1_COVID-19": ["a b.png", "c.png"],
    "covid_binary_test_whatsapp/0_NON_COVID": ["00000007_001.jpeg", "c.jpeg"],
    "covid_binary_test_whatsapp/1_COVID-19": ["a b.jpeg", "c.jpeg"],
}


@pytest.fixture
def source(tmp_path: Path) -> WacxrSource:
    for folder, names in FILES.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).touch()
    return WacxrSource(root=str(tmp_path))


def test_pairs_by_class_and_stem(source: WacxrSource) -> None:
    notes = SourceNotes()
    table = read_wacxr(source, "wacxr", PatientRegistry(known={"ab": "cohen:5"}), notes)
    stems = [(Path(o).stem, Path(r).stem) for o, r in zip(table["image"], table["received"], strict=True)]
    assert stems == [("00000007_001",) * 2, ("a b",) * 2, ("c",) * 2]
    assert table["COVID-19"].tolist() == [0, 1, 1]
    assert table["patient"].tolist() == ["nih:00000007", "cohen:5", "wacxr:c"]
    assert (table["split"] == "test").all()
    assert "2 images have no twin" in notes.lines[0]
    assert "0_NON_COVID/alone, 0_NON_COVID/c" in notes.lines[0]
    assert notes.risks[0].startswith("wacxr: no patient known for 1 of 3 images: these are split by image")


def test_one_stem_twice(source: WacxrSource) -> None:
    (Path(source.root) / "covid_binary_test/1_COVID-19/c.jpg").touch()
    with pytest.raises(UserError, match="same stem"):
        read_wacxr(source, "wacxr", PatientRegistry(), SourceNotes())


def test_wrong_folders(source: WacxrSource, tmp_path: Path) -> None:
    (tmp_path / "covid_binary_test" / "positive").mkdir()
    with pytest.raises(UserError, match=r"begin with 0_ .* found positive"):
        read_wacxr(source, "wacxr", PatientRegistry(), SourceNotes())
    source.originals = "typo"
    with pytest.raises(UserError, match=r"data\.sources\.wacxr\.originals: no folder"):
        read_wacxr(source, "wacxr", PatientRegistry(), SourceNotes())


def test_real_files(mini_cxr: Path) -> None:
    notes = SourceNotes()
    table = read_wacxr(WacxrSource(root=str(mini_cxr / "wacxr")), "wacxr", PatientRegistry(), notes)
    assert table["COVID-19"].value_counts().to_dict() == {1: 25, 0: 24}
    assert all(Path(path).is_file() for path in [*table["image"], *table["received"]])
    assert len(notes.risks) == 1  # without COVIDx's lists the COVID-19 patients are unknown


def test_pairs_of_another_disease_have_its_label(source: WacxrSource) -> None:
    source.label = "tuberculosis"
    table = read_wacxr(source, "wacxr", PatientRegistry(), SourceNotes())
    assert table["tuberculosis"].tolist() == [0, 1, 1]
    assert "COVID-19" not in table
    (Path(source.root) / "covid_binary_test" / "sick").mkdir()
    with pytest.raises(UserError, match=r"begin with 0_ \(not tuberculosis\) or 1_ \(tuberculosis\)"):
        read_wacxr(source, "wacxr", PatientRegistry(), SourceNotes())
