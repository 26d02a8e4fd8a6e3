import os
from pathlib import Path

import pandas as pd
import pytest

from datamodules.sources.duplicates import find_equal_files, join_patients, refuse_duplicates
from experiments.errors import UserError


def write(folder: Path, **contents: bytes) -> dict[str, str]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


def test_equal_files(tmp_path: Path) -> None:
    long = bytes(range(256)) * 64
    other_end = long[:-1] + b"x"  # of one size, equal in the middle
    files = write(tmp_path, a=long, b=long, c=other_end, d=b"short", e=b"short", f=b"", g=b"")
    groups = find_equal_files([*files.values(), files["a"], str(tmp_path / "gone")])
    assert [[os.path.basename(path) for path in group] for group in groups] == [["a", "b"], ["d", "e"]]


def test_patients_of_equal_files_are_one_also_by_way_of_a_third(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"1", b=b"1", c=b"22", d=b"22", e=b"333")
    tables = {
        "x": pd.DataFrame({"image": [files["a"], files["c"]], "patient": ["x:1", "x:2"]}),
        "y": pd.DataFrame({"image": [files["b"], files["d"], files["e"]], "patient": ["y:1", "x:1", "y:9"]}),
    }
    joined, sentence = join_patients(tables)
    assert joined["x"]["patient"].tolist() == ["x:1", "x:1"]
    assert joined["y"]["patient"].tolist() == ["x:1", "x:1", "y:9"]
    assert sentence == "4 image files are equal to another one: data.duplicates=join made 4 patients 2 fewer"
    assert join_patients({"y": tables["y"]}) == ({"y": tables["y"]}, None)


def test_equal_files_in_two_splits_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"1", b=b"1", c=b"22", d=b"22")
    table = pd.DataFrame({"image": list(files.values()), "split": ["train", "train", "val", "test"]})
    with pytest.raises(UserError, match=r"1 images lie in two splits under several names: .*/c = .*/d; .*=join"):
        refuse_duplicates({"x": table})
    refuse_duplicates({"x": table[:3]})


def test_a_thousand_equal_files_are_a_short_message(tmp_path: Path) -> None:
    """Such as black frames, or one placeholder for what could not be exported."""
    files = list(write(tmp_path, **{f"f{number:03}": b"black" for number in range(999)}).values())
    table = pd.DataFrame({"image": files, "split": ["train", "val", "test"] * 333})
    with pytest.raises(UserError, match=r"1 images lie in .*/f000 = .*/f001 = .*/f002 and 996 more; remove") as refusal:
        refuse_duplicates({"x": table})
    assert len(str(refusal.value)) < 1000
