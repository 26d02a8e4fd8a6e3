import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.images.cache_index import CacheIndex, Entry, absolute_paths, read_stamp
from experiments.errors import UserError


def entry(path: str, row: int, stamp: tuple[int, int] = (1, 2)) -> Entry:
    return Entry(os.fsencode(path), *stamp, digest=b"d", row=row, check=3, height=4, width=5)


def test_a_new_entry_replaces_that_of_its_path(tmp_path: Path):
    index = CacheIndex().updated([entry("/b", 0), entry("/a", 1)])
    assert index.updated([]) is index
    longer = index.updated([entry("/b", 2), entry("/a/long/path", 3)])
    assert index.rows == 2
    assert longer.rows == 4
    assert longer.entries["path"].tolist() == [b"/a", b"/a/long/path", b"/b"]
    assert longer.entries["row"].tolist() == [1, 3, 2]

    longer.write(tmp_path / "films.index")
    again = CacheIndex.read(tmp_path / "films.index")
    assert np.array_equal(again.entries, longer.entries)
    assert [path.name for path in tmp_path.iterdir()] == ["films.index"]


def test_missing_are_files_without_entry_and_changed_ones(tmp_path: Path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text("film")
    index = CacheIndex().updated([entry(str(path), i, read_stamp(str(path))) for i, path in enumerate(paths[:2])])
    paths[1].write_text("another film")
    assert index.missing(absolute_paths(map(str, paths))).tolist() == [1, 2]
    assert CacheIndex().missing(absolute_paths(["/a"])).tolist() == [0]
    paths[0].unlink()
    assert index.missing(absolute_paths([str(paths[0])])).tolist() == [0]


def test_no_file_is_an_empty_index_and_another_file_is_refused(tmp_path: Path):
    assert CacheIndex.read(tmp_path / "none").rows == 0
    (tmp_path / "text").write_text("no index")
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    for name in ("text", "numbers.npy"):
        with pytest.raises(UserError, match=f"{name}: is not a cache's index"):
            CacheIndex.read(tmp_path / name)


def test_paths_are_absolute_and_may_be_of_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_paths(["a b", b"/c\xff"]).tolist() == [os.fsencode(tmp_path / "a b"), b"/c\xff"]
