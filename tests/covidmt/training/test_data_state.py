"""A training does not resume on other data unnoticed, whatever of them has changed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidmt.training.data_state import (
    FilesState,
    Saved,
    describe_changes,
    read_data_state,
    read_files_state,
    refuse_changed_data,
    to_saved,
)
from datamodules.images.cache import ImageCache
from datamodules.images.cache_index import CacheIndex
from experiments.errors import UserError
from experiments.schema import Data, Masks
from experiments.source_schema import CovidxSource
from tests.helpers.films import write_film


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            write_film(tmp_path / "set" / name / f"{number}.png", number)
    return tmp_path / "set"


def state(folder: Path) -> tuple[Data, dict[str, pd.DataFrame]]:
    data = Data(sources={"covidx": CovidxSource(root=str(folder))}, masks=Masks(folders=[str(folder / "masks")]))
    images = sorted((folder / "images").iterdir())
    labels = [float(path.stem in "024") for path in images]
    table = pd.DataFrame({"image": list(map(str, images)), "split": "train", "patient": "p", "COVID-19": labels})
    if (folder / "labels.txt").exists():
        table["COVID-19"] = [float(value) for value in (folder / "labels.txt").read_text().split()]
    return data, {"covidx": table}


def refuse(saved: Saved | None, data: Data, tables: dict[str, pd.DataFrame], run_id: str) -> None:
    refuse_changed_data(saved, read_data_state(data, tables), tables, run_id)


def content(folder: Path, name: str = "images") -> None:
    """Another content of the same size at the same time: what a digest of sizes or times does not see."""
    path = folder / name / "3.png"
    stamp, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def plain(path: Path, value: int) -> None:
    """An image of one grey value, as large as that of any other."""
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(path, compress_level=0)


def swap(folder: Path) -> None:
    for old, new in (("1.png", "x"), ("2.png", "1.png"), ("x", "2.png")):
        (folder / "images" / old).rename(folder / "images" / new)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an image's content": (content, "covidx: files of other contents"),
    "a mask's content": (lambda folder: content(folder, "masks"), "lung masks of masks: files of other contents"),
    "an image's size": (lambda folder: write_film(folder / "images" / "3.png", 77, 50), "covidx: files of other sizes"),
    "labels": (lambda folder: (folder / "labels.txt").write_text("1 1 0 0 0 0"), "covidx: other labels"),
    "a row more": (lambda folder: write_film(folder / "images" / "9.png", 9), "covidx: 6 files then, 7 now"),
    "a row less": (lambda folder: (folder / "images" / "5.png").unlink(), "covidx: 6 files then, 5 now"),
    "two images swapped": (swap, "covidx: files of other"),
    "a mask less": (lambda folder: (folder / "masks" / "1.png").unlink(), "lung masks of masks: 6 files then, 5 now"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_named(folder: Path, change: str):
    saved = to_saved(read_data_state(*state(folder)))
    refuse(saved, *state(folder), "4f0c")
    make, words = CHANGES[change]
    make(folder)
    with pytest.raises(UserError, match=rf"run 4f0c was begun with other data: .*{words}.*--resume-changed-data"):
        refuse(saved, *state(folder), "4f0c")


def test_a_copy_is_the_same(folder: Path, tmp_path: Path):
    saved = to_saved(read_data_state(*state(folder)))
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    refuse(saved, *state(tmp_path / "copy"), "4f0c")


def test_a_checkpoint_that_does_not_tell_is_taken(folder: Path):
    refuse(None, *state(folder), "4f0c")


def test_of_very_many_files_times_tell_too(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covidmt.training.data_state.SAMPLE", 2)
    paths = [str(path) for path in sorted((folder / "images").iterdir())]
    for path in paths:
        os.utime(path, ns=(10, 10))
    before = read_files_state("t", paths, CacheIndex())
    assert before.kind == "sample"
    content(folder)  # not among the two, and its time is put back: nothing can tell
    os.utime(paths[3], ns=(20, 20))
    now = read_files_state("t", paths, CacheIndex())
    assert describe_changes(to_saved({"a": before}), {"a": now}, {"a": paths}) == ["a: 1 files were written since"]
    for path in paths:
        os.utime(path, ns=(30, 30))  # all of them: a copy
    assert describe_changes(to_saved({"a": before}), {"a": now}, {"a": paths}) == []


def test_a_cache_knows_contents_in_full(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covidmt.training.data_state.PART", 0)  # as if the change were between the parts
    plain(folder / "images" / "3.png", 0)
    paths = [str(path) for path in sorted((folder / "images").iterdir())]
    cache = ImageCache(tmp_path / "cache", "covidx", 32)
    cache.fill(paths, processes=1)
    known = read_files_state("t", paths, CacheIndex.read(cache.index))
    assert known.full
    plain(Path(paths[3]), 1)
    cache.fill(paths, processes=1)
    now = read_files_state("t", paths, CacheIndex.read(cache.index))
    assert now.full
    assert describe_changes(to_saved({"a": known}), {"a": now}, {}) == ["a: files of other contents"]


@pytest.mark.parametrize("cached_before", [True, False])
def test_a_cache_that_knew_them_only_then_or_only_now_hides_no_change(
    folder: Path, tmp_path: Path, cached_before: bool
):
    plain(folder / "images" / "3.png", 0)
    paths = [str(path) for path in sorted((folder / "images").iterdir())]
    cache = ImageCache(tmp_path / "cache", "covidx", 32)
    cache.fill(paths, processes=1)
    full, none = CacheIndex.read(cache.index), CacheIndex()
    before = read_files_state("t", paths, full if cached_before else none)
    assert describe_changes(to_saved({"a": before}), {"a": read_files_state("t", paths, none)}, {}) == []
    plain(Path(paths[3]), 1)
    cache.fill(paths, processes=1)
    now = read_files_state("t", paths, none if cached_before else CacheIndex.read(cache.index))
    assert bool(before.full) is not bool(now.full)
    assert describe_changes(to_saved({"a": before}), {"a": now}, {}) == ["a: files of other contents"]


def test_sources_that_came_and_went():
    one = FilesState("t", 1, "s", "parts", "c", 0)
    assert describe_changes(to_saved({"a": one}), {"b": one}, {}) == ["a: is gone", "b: was not there"]
