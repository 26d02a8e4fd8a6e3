from pathlib import Path

import pandas as pd
import pytest

from datamodules.sources.files import (
    abbreviate,
    check_labels,
    drop_missing,
    find_file,
    list_images,
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


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("a/film.png", "b/film.png", "b/other.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path / "a", tmp_path / "b", tmp_path / "c") == {
        "film.png": str(tmp_path / "a/film.png"),
        "other.jpg": str(tmp_path / "b/other.jpg"),
    }


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


def test_images_that_are_missing_are_noted() -> None:
    table = pd.DataFrame({"file": ["a.png", "b.png"], "image": ["/x/a.png", None]})
    notes: list[str] = []
    assert drop_missing(table, "own", Path("/x"), notes)["image"].tolist() == ["/x/a.png"]
    assert notes == ["own: 1 of 2 listed images are not in /x: b.png"]
    with pytest.raises(UserError, match=r"no listed image lies in /x \(looked for b.png and 0 others\)"):
        drop_missing(table[1:], "own", Path("/x"), notes)


def test_names_of_labels_and_lists_of_names() -> None:
    check_labels(["sick"], "mine")
    with pytest.raises(UserError, match="no label can be called 'split'"):
        check_labels(["sick", "split"], "mine")
    assert abbreviate(["b", "a"]) == "a, b"
    assert abbreviate(list("dcba"), 2) == "a, b and 2 more"
