from pathlib import Path

import pytest

from datamodules.sources.files import (
    abbreviate,
    find_file,
    path_below,
    read_csv,
    read_text,
)
from experiments.errors import UserError


def test_one_file_by_its_pattern(tmp_path: Path) -> None:
    (tmp_path / "train_1.txt").touch()
    assert find_file(tmp_path, "train*.txt", "key") == tmp_path / "train_1.txt"
    assert find_file(Path("/nowhere"), str(tmp_path / "train_1.txt"), "key") == tmp_path / "train_1.txt"
    (tmp_path / "train_2.txt").touch()
    with pytest.raises(UserError, match=r"^key: 'train\*.txt' matches several files .*train_1.txt, train_2.txt"):
        find_file(tmp_path, "train*.txt", "key")
    with pytest.raises(UserError, match=r"^key: no file 'val\*.txt'"):
        find_file(tmp_path, "val*.txt", "key")


def test_columns_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b;c\n1;;3\n")
    table = read_csv(path, ["c", "b"], separator=";", optional=["a", "d"])
    assert list(table) == ["c", "b", "a"]
    assert table["c"][0] == "3"
    assert table["b"].isna().all()
    with pytest.raises(UserError, match="no column 'x'; it has 'a', 'b', 'c'"):
        read_csv(path, ["x"], separator=";")
    path.write_text("a,b\n1,2,3\n")
    with pytest.raises(UserError, match="more fields than its header"):
        read_csv(path, ["a"])


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="save it again as UTF-8"):
        read_text(tmp_path / "list.txt")


def test_nothing_leads_out_of_the_folder(tmp_path: Path) -> None:
    assert path_below(tmp_path, "x/../a.png", "t.csv, line 2") == tmp_path / "a.png"
    for name in ("../a.png", "/etc/passwd", "a\0.png"):
        with pytest.raises(UserError, match=r"^t.csv, line 2: .* does not lie below"):
            path_below(tmp_path, name, "t.csv, line 2")


def test_lists_of_names() -> None:
    assert abbreviate(["b", "a"]) == "a, b"
    assert abbreviate(list("dcba"), 2) == "a, b and 2 more"
    assert abbreviate(["a\x1b[2J\n.png"]) == r"a\x1b[2J\n.png"


def test_blank_cells_and_blanks_around_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image , finding,age\n a.png, None ,NA\nb.png,  , 7\n")
    table = read_csv(path, ["image", "finding", "age"], words=["finding"])
    assert table.fillna("-").to_numpy().tolist() == [["a.png", "None", "-"], ["b.png", "-", "7"]]
