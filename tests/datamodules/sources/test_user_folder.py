from __future__ import annotations

import os
from pathlib import Path

import pytest

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
    table = read_user_folder(source, "m", PatientRegistry(), [])
    assert table[["sick", "well"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    assert table["patient"].tolist() == ["nih:00000007", "m:well/b.PNG"]  # however the root is written
    assert table["split"].isna().all()


def test_split_folders(tmp_path: Path) -> None:
    table = read_user_folder(
        write(tmp_path, "train/sick/a.png", "test/sick/b.png", "test/well/c.png"), "m", PatientRegistry(), []
    )
    assert table["split"].tolist() == ["test", "test", "train_val"]  # no validation folder: training is open


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images in class folders"):
        read_user_folder(FolderSource(root=str(tmp_path)), "m", PatientRegistry(), [])
    with pytest.raises(UserError, match="sick/ beside train/"):
        read_user_folder(write(tmp_path, "train/sick/a.png", "sick/b.png"), "m", PatientRegistry(), [])


def test_a_file_name_that_is_no_utf_8(tmp_path: Path) -> None:
    source = write(tmp_path, "sick/a.png", "well/" + os.fsdecode(b"R\xf6ntgen.png"))
    with pytest.raises(UserError, match=r"well: the file name 'R\\udcf6ntgen.png' is not UTF-8"):
        read_user_folder(source, "m", PatientRegistry(), [])
