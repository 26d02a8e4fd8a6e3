import os
import unicodedata
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from datamodules.reading.listing import count_others, find_folder, scan_folders, subfolders
from experiments.errors import UserError


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("a/film.png", "b/film.png", "b/other.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert scan_folders(tmp_path / "a", tmp_path / "b", tmp_path / "c").images == {
        "film.png": str(tmp_path / "a/film.png"),
        "other.jpg": str(tmp_path / "b/other.jpg"),
    }


ENDINGS = ("jfif", "JPE", "gif", "HEIC", "heif", "avif", "DCM", "dicom", "TIF", "webp", "jp2")


@pytest.mark.parametrize("name", [f"film.{ending}" for ending in ENDINGS])
def test_images_by_their_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    found = scan_folders(tmp_path)
    assert (list(found.images), found.others) == ([name], [])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("name", ["IM0001", "film.dat", "film.txt"])
def test_images_by_their_content(tmp_path: Path, kind: str, name: str) -> None:
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).convert("RGB").save(tmp_path / name, kind)
    assert list(scan_folders(tmp_path).images) == [name]


@pytest.mark.parametrize("with_preamble", [True, False])
def test_dicom_without_an_ending(tmp_path: Path, with_preamble: bool) -> None:
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    path = tmp_path / "1.2.840.113619.2.5"
    if with_preamble:
        data.save_as(path, enforce_file_format=True)
    else:
        path.write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()[132:])
    assert list(scan_folders(tmp_path).images) == ["1.2.840.113619.2.5"]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    for name in ("._x.png", ".DS_Store", "Thumbs.db", "desktop.ini", "README", "notes.txt", "BMW.txt"):
        (tmp_path / name).write_text("BMW: no image")
    (tmp_path / "empty").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder").mkdir()  # folders are no files
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    found = scan_folders(tmp_path)
    assert found.images == {}
    named = [".DS_Store", "._x.png", "BMW.txt", "README", "Thumbs.db", "desktop.ini", "empty", "folder.png"]
    assert sorted(found.others) == [*named, "notes.txt", "nowhere.png", "pipe", "pipe.png"]
    assert count_others(found.others).startswith("12 are no images: .DS_Store, ._x.png, BMW.txt and 9 more")
    assert count_others(["x"]) == "1 is no image: x"


@pytest.mark.parametrize(
    ("on_disk", "listed"),
    [
        ("film.JPG", "film.jpg"),
        ("FILM.jpg", "film.JPG"),
        (unicodedata.normalize("NFD", "Röntgen.png"), unicodedata.normalize("NFC", "Röntgen.png")),
        (unicodedata.normalize("NFC", "RÖNTGEN.png"), unicodedata.normalize("NFD", "röntgen.PNG")),
        ("COVID (70).png", "COVID(70).png"),
        ("Straße.png", "STRASSE.png"),
    ],
)
def test_a_name_in_another_spelling(tmp_path: Path, on_disk: str, listed: str) -> None:
    (tmp_path / on_disk).touch()
    (tmp_path / "other.png").touch()
    found = scan_folders(tmp_path)
    assert found.find(listed) == str(tmp_path / on_disk)
    assert found.find("film2.png") is None


def test_two_files_that_differ_in_case(tmp_path: Path) -> None:
    for name in ("film.png", "FILM.png"):
        (tmp_path / name).touch()
    found = scan_folders(tmp_path)
    assert found.find("FILM.png") == str(tmp_path / "FILM.png")
    with pytest.raises(UserError, match=r"'Film.png' could be each of .*FILM\.png"):
        found.find("Film.png")


def test_stems_are_unique(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert scan_folders(tmp_path).by_stem == {"a": str(tmp_path / "a.png")}
    (tmp_path / "a.dcm").touch()
    with pytest.raises(UserError, match="have the same stem"):
        _ = scan_folders(tmp_path).by_stem


def test_folders_in_another_spelling(tmp_path: Path) -> None:
    for name in ("Train/NORMAL", ".hidden", "__MACOSX"):
        (tmp_path / name).mkdir(parents=True)
    assert find_folder(tmp_path, tmp_path / "train" / "normal") == tmp_path / "Train" / "NORMAL"
    assert find_folder(tmp_path, tmp_path / "val") == tmp_path / "val"
    assert [path.name for path in subfolders(tmp_path)] == ["Train"]


def test_the_endings_of_the_case(shared: Path) -> None:
    found = scan_folders(shared / "cases" / "file-endings")
    assert sorted(found.images) == ["a.jpg", "b.jfif", "c.jpe", "d.gif", "e.heic"]
