from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datamodules.sources.nih import LABELS, read_nih
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.source_schema import NihSource

V2017 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly|Nodule,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    "00000001_001.png,No Finding,1,1,058Y,M,PA,2894,2729,0.143,0.143,\n"
    "00000002_000.png,Effusion,0,2,081Y,M,PA,2500,2048,0.171,0.171,\n"
)
V2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y\n"
    "00000001_000.png,Cardiomegaly|Nodule,0,1,57,M,PA,2682,2749,0.143,0.143\n"
    "00000001_001.png,No Finding,1,1,58,M,PA,2894,2729,0.143,0.143\n"
    "00000002_000.png,Effusion,0,2,80,M,PA,2500,2048,0.171,0.171\n"
)
NAMES = ["00000001_000.png", "00000001_001.png", "00000002_000.png"]


def write(root: Path, entries: str, folders: list[str]) -> NihSource:
    (root / "Data_Entry_2017.csv").write_text(entries)
    (root / "train_val_list.txt").write_text("\n".join(NAMES[:2]))
    (root / "test_list.txt").write_text(NAMES[2] + "\n")
    for folder, name in zip(folders, NAMES, strict=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).touch()
    return NihSource(root=str(root))


@pytest.mark.parametrize("entries", [V2017, V2020], ids=["2017", "v2020"])
@pytest.mark.parametrize(
    "folders",
    [["images_001/images", "images_001/images", "images_012/images"], ["images"] * 3, ["."] * 3, ["images_001"] * 3],
    ids=["twelve", "one", "flat", "unpacked"],
)
def test_revisions_and_folders(tmp_path: Path, entries: str, folders: list[str]) -> None:
    notes = SourceNotes()
    table = read_nih(write(tmp_path, entries, folders), "nih", PatientRegistry(), notes)
    assert notes.lines == notes.risks == notes.problems == []
    assert [Path(image) for image in table["image"]] == [tmp_path / f / n for f, n in zip(folders, NAMES, strict=True)]
    assert table["patient"].tolist() == ["nih:00000001", "nih:00000001", "nih:00000002"]
    assert table["split"].tolist() == ["train_val", "train_val", "test"]
    positive = [[label for label in LABELS if row[label] == 1] for _, row in table.iterrows()]
    assert positive == [["Cardiomegaly", "Nodule"], [], ["Effusion"]]
    assert table[list(LABELS)].isin([0, 1]).all(axis=None)


def test_two_revisions_side_by_side(tmp_path: Path) -> None:
    source = write(tmp_path, V2017, ["images"] * 3)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(V2020)
    with pytest.raises(UserError, match=r"data\.sources\.nih\.entries: .*several.*Data_Entry_2017_v2020\.csv"):
        read_nih(source, "nih", PatientRegistry(), SourceNotes())


def test_missing_parts_are_said(tmp_path: Path) -> None:
    source = write(tmp_path, V2017, ["images"] * 3)
    (tmp_path / "images" / NAMES[1]).unlink()
    (tmp_path / "test_list.txt").write_text("00000009_000.png")
    notes = SourceNotes()
    table = read_nih(source, "nih", PatientRegistry(), notes)
    assert [Path(image).name for image in table["image"]] == NAMES[:1]
    assert [note.split(": ")[1][:30] for note in notes.lines + notes.problems] == [
        "1 images of the official lists",
        "1 images are in neither of the",
        "1 of 2 listed images are not i",
    ]


def test_findings_and_files_in_another_spelling(tmp_path: Path) -> None:
    source = write(tmp_path, V2017.replace("Cardiomegaly|Nodule", " cardiomegaly | Nodule|"), ["images"] * 3)
    (tmp_path / "images" / NAMES[0]).rename(tmp_path / "images" / NAMES[0].replace("png", "PNG"))
    (tmp_path / "images" / "._00000001_000.png").touch()
    notes = SourceNotes()
    table = read_nih(source, "nih", PatientRegistry(), notes)
    assert table.loc[0, ["Cardiomegaly", "Nodule", "Mass"]].tolist() == [1, 1, 0]
    assert Path(table["image"][0]).suffix == ".PNG"
    assert notes.lines == [f"nih: of the files in {tmp_path}, 1 is no image: ._00000001_000.png"]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (V2017.replace("Finding Labels", "Findings"), "no column 'Finding Labels'"),
        (V2017.replace("Effusion", "Infiltrate"), "line 4: unknown finding 'Infiltrate'"),
        (V2017.replace("00000002_000.png", "scan.png"), r"line 4: 'scan\.png' is no NIH image name"),
        ("", "cannot be read as CSV"),
    ],
)
def test_wrong_entries(tmp_path: Path, entries: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"Data_Entry_2017\.csv.*{says}"):
        read_nih(write(tmp_path, entries, ["images"] * 3), "nih", PatientRegistry(), SourceNotes())


def test_real_files(mini_cxr: Path) -> None:
    notes = SourceNotes()
    table: Any = read_nih(NihSource(root=str(mini_cxr / "nih")), "nih", PatientRegistry(), notes)
    assert notes.lines == notes.risks == notes.problems == []
    assert table.groupby("split")["Infiltration"].agg(["size", "sum"]).loc["test"].tolist() == [32, 7]
    assert len(table) == 160
