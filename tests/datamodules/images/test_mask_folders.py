"""A data set's own masks: which file is whose."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from datamodules.images.mask_folders import MaskFolders
from experiments.errors import UserError


def masks_of(folder: Path, names: list[str], image: str, suffix: str = "") -> list[str]:
    for name in names:
        (folder / name).touch()
    return [path.name for path in MaskFolders([folder, folder / "absent"], suffix).of(image)]


@pytest.mark.parametrize("mask", ["a.png", "A.PNG", "a.tif", "a.gif", "A .bmp"])
def test_a_mask_is_found_however_its_name_is_spelt(tmp_path: Path, mask: str):
    assert masks_of(tmp_path, [mask, "b.png"], "films/a.dcm") == [mask]


def test_composed_and_decomposed_letters_are_one(tmp_path: Path):
    mask = unicodedata.normalize("NFD", "Röntgen.png")
    assert masks_of(tmp_path, [mask], unicodedata.normalize("NFC", "Röntgen.jpg")) == [mask]


def test_the_images_own_name_comes_first(tmp_path: Path):
    assert masks_of(tmp_path, ["a.png", "A.png"], "A.dcm") == ["A.png"]


def test_two_spellings_of_neither_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"lung mask of film 1\.dcm could be each of .*FILM1\.png.*Film1\.png"):
        masks_of(tmp_path, ["FILM1.png", "Film1.png"], "film 1.dcm")


def test_a_suffix_is_taken_off_in_any_case(tmp_path: Path):
    assert masks_of(tmp_path, ["a_MASK.png", "b.png"], "a.dcm", "_mask") == ["a_MASK.png"]
    assert masks_of(tmp_path, [], "b.dcm", "_mask") == []


def test_what_is_no_image_is_no_mask(tmp_path: Path):
    assert masks_of(tmp_path, ["a.txt", "._a.png"], "a.dcm") == []


def test_masks_may_lie_among_their_images(tmp_path: Path):
    for name in ("a.jpg", "a.png", "b.jpg"):
        (tmp_path / name).touch()
    masks = MaskFolders([tmp_path])
    assert masks.of(tmp_path / "a.jpg") == [tmp_path / "a.png"]
    assert masks.of(tmp_path / "b.jpg") == []


def test_files_of_several_folders(tmp_path: Path):
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    folders = MaskFolders([tmp_path / "left", tmp_path / "right"])
    assert folders.of("a.dcm") == folders.files() == [tmp_path / "left/a.png", tmp_path / "right/a.png"]
