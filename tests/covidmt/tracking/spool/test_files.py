import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from covidmt.tracking.spool import files as spool_files
from covidmt.tracking.spool.files import SpoolFiles
from experiments.errors import UserError


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    return SpoolFiles(tmp_path / "run" / "files")


def test_a_folder_is_restored_with_all_that_is_in_it(tmp_path: Path, files: SpoolFiles):
    (tmp_path / "source" / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / "source" / name).write_text(name)
    name = files.add("table", partial(shutil.copytree, tmp_path / "source"))
    shutil.rmtree(files.folder)
    assert files.restore(name)
    assert [files.path(f"{name}/{file}").read_text() for file in ("a.txt", "deep/b.txt")] == ["a.txt", "deep/b.txt"]
    files.remove(name)
    assert list(files.folder.iterdir()) == []
    assert not files.restore(name)  # it is held no longer


def test_another_place_gets_what_the_old_one_had(tmp_path: Path, files: SpoolFiles):
    names = [files.add(f"{number}.txt", lambda path: path.write_text(path.name)) for number in range(3)]
    shutil.rmtree(files.folder)
    files.folder = tmp_path / "elsewhere" / "files"
    files.restore_all()
    assert [files.path(name).read_text() for name in names] == ["0.txt", "1.txt", "2.txt"]


def test_half_a_file_leaves_nothing(files: SpoolFiles):
    def write(path: Path) -> None:
        path.write_text("half")
        raise OSError("the disk is full")

    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="full"):
        files.add("picture.png", write)
    assert list(files.folder.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_no_more_descriptors_than_the_limit(monkeypatch: pytest.MonkeyPatch, files: SpoolFiles):
    monkeypatch.setattr(spool_files, "MOST_HELD", 2)
    descriptors = len(os.listdir("/proc/self/fd"))
    names = [files.add("note.txt", lambda path: path.write_text("hello")) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == descriptors + 2
    shutil.rmtree(files.folder)
    assert [files.restore(name) for name in names] == [True, True, False, False, False]
    files.release()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_name_that_leads_out_is_refused(files: SpoolFiles):
    with pytest.raises(UserError, match="leads out of"):
        files.path("../../note.txt")
