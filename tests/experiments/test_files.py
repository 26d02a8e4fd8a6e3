import stat
from pathlib import Path

import pytest

from experiments.files import replace_file


def test_a_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path):
    path = tmp_path / "folder/scores.txt"
    for text in ("first", "second"):
        with replace_file(path) as new:
            new.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == ["scores.txt"]


def test_the_old_file_stays_if_the_new_one_fails(tmp_path: Path):
    path = tmp_path / "scores.txt"
    path.write_text("old")

    def fail() -> None:
        with replace_file(path) as new:
            new.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("scores.txt", "old")]


def test_a_private_file_is_its_owners_alone_and_a_shared_ones_name_its_own(tmp_path: Path):
    path = tmp_path / "secret"
    with replace_file(path, private=True, sync=True) as new:
        new.write_text("x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with replace_file(path, shared=True) as one, replace_file(path, shared=True) as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert path.read_text() == "1"  # the outer block ends last


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "ж" * 125 + ".png"])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str):
    for shared in (True, False):
        with replace_file(tmp_path / name, shared=shared) as new:
            new.write_text("x")
    assert [file.name for file in tmp_path.iterdir()] == [name]
