from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.user_folder import read_user_folder
from experiments.errors import UserError
from experiments.source_schema import FolderSource


def write(root: Path, *files: str) -> FolderSource:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return FolderSource(root=str(root))


def test_class_folders(tmp_path: Path) -> None:
    source = write(tmp_path, "sick/00000007_001.png", "well/b.PNG", "well/notes.txt", "well/.hidden.png")
    table = read_user_folder(source, "m", PatientRegistry(), SourceNotes())
    assert table[["sick", "well"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    assert table["patient"].tolist() == ["nih:00000007", "m:well/b.PNG"]  # however the root is written
    assert table["split"].isna().all()


def test_split_folders(tmp_path: Path) -> None:
    table = read_user_folder(
        write(tmp_path, "train/sick/a.png", "test/sick/b.png", "test/well/c.png"), "m", PatientRegistry(), SourceNotes()
    )
    assert table["split"].tolist() == ["test", "test", "train_val"]  # no validation folder: training is open


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images in class folders"):
        read_user_folder(FolderSource(root=str(tmp_path)), "m", PatientRegistry(), SourceNotes())
    with pytest.raises(UserError, match="sick/ beside train/"):
        read_user_folder(write(tmp_path, "train/sick/a.png", "sick/b.png"), "m", PatientRegistry(), SourceNotes())


def test_a_file_name_that_is_no_utf_8(tmp_path: Path) -> None:
    source = write(tmp_path, "sick/a.png", "well/" + os.fsdecode(b"R\xf6ntgen.png"))
    with pytest.raises(UserError, match=r"well: the file name 'R\\udcf6ntgen.png' is not UTF-8"):
        read_user_folder(source, "m", PatientRegistry(), SourceNotes())


def test_kermanys_patients_are_known(tmp_path: Path) -> None:
    names = ("train/PNEUMONIA/person7_bacteria_24.jpeg", "test/PNEUMONIA/person7_virus_1.jpeg")
    names += ("train/NORMAL/IM-0305-0001.jpeg", "test/NORMAL/NORMAL2-IM-0305-0001.jpeg", "train/NORMAL/film.jpeg")
    notes = SourceNotes()
    table = read_user_folder(write(tmp_path, *names), "m", PatientRegistry(), notes)
    assert dict(zip(table["image"].str.rsplit("/").str[-1], table["patient"], strict=True)) == {
        "person7_bacteria_24.jpeg": "kermany:person7",
        "person7_virus_1.jpeg": "kermany:person7",
        "IM-0305-0001.jpeg": "kermany:im-0305",
        "NORMAL2-IM-0305-0001.jpeg": "kermany:normal2-im-0305",
        "film.jpeg": "m:train/NORMAL/film.jpeg",
    }
    assert notes.risks[0].startswith("m: no patient known for 1 of 5 images: these are split by image")


def test_ieee8023s_patients_are_known_by_its_table(tmp_path: Path) -> None:
    source = write(tmp_path, "COVID-19/film 1.png", "other/x.jpg")
    (tmp_path / "metadata.csv").write_text("patientid,offset,filename\n7,3,film 1.jpeg\n2,0,gone.png\n")
    table = read_user_folder(source, "m", PatientRegistry(), SourceNotes())
    assert table["patient"].tolist() == ["cohen:7", "m:other/x.jpg"]


def test_what_is_no_image_is_counted(tmp_path: Path) -> None:
    names = ["sick/a.png", "sick/Thumbs.db", "sick/deeper/b.png", "__MACOSX/sick/._a.png"]
    names += ["well/c.JFIF", "well/._c.JFIF"]
    notes = SourceNotes()
    table = read_user_folder(write(tmp_path, *names), "m", PatientRegistry(), notes)
    assert table[["sick", "well"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    assert notes.lines == [f"m: of the files in {tmp_path}, 3 are no images: ._c.JFIF, Thumbs.db, sick/deeper/"]
    assert notes.counts["m"] == {"no image": 3, "no patient": 2}
