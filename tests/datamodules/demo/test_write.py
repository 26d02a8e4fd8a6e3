import errno
from pathlib import Path

import pytest

from datamodules.demo.write import MARKER, write_demo
from experiments.errors import UserError


def test_same_arguments_same_bytes_and_a_present_demo_stays(tmp_path):
    def content(root: Path) -> dict[Path, bytes]:
        return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    write_demo(tmp_path / "a", size=32, patients=48)
    write_demo(tmp_path / "b", size=32, patients=48)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    stamp = (tmp_path / "a" / MARKER).stat().st_mtime_ns
    write_demo(tmp_path / "a", size=32, patients=48)
    assert (tmp_path / "a" / MARKER).stat().st_mtime_ns == stamp
    write_demo(tmp_path / "a", seed=1, size=32, patients=48)
    assert content(tmp_path / "a") != content(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no demo set"):
        write_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="at least"):
        write_demo(tmp_path / "new", size=8)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/new", tmp_path / "file/new/er"):
        with pytest.raises(UserError, match=r"file/new.*cannot be written"):
            write_demo(path, size=32, patients=48)

    def busy(path, target):  # as for a mount point
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(UserError, match=r"mount: cannot be written \(Device or resource busy\)"):
        write_demo(tmp_path / "mount", size=32, patients=48)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mount"]
