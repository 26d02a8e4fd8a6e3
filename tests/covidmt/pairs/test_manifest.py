from dataclasses import replace

import pytest
from PIL import Image

from covidmt.pairs.manifest import describe_pair, read_manifest, write_manifest


@pytest.fixture
def row(tmp_path):
    for name, size in (("sent.png", (90, 70)), ("got.jpeg", (45, 35))):
        Image.new("L", size).save(tmp_path / name)
    return describe_pair(tmp_path, tmp_path / "sent.png", tmp_path / "got.jpeg")


def test_a_row_has_names_sizes_and_digests(row, tmp_path):
    assert (row.original, row.received) == ("sent.png", "got.jpeg")
    assert (row.original_width, row.original_height, row.received_width, row.received_height) == (90, 70, 45, 35)
    assert row.received_bytes == (tmp_path / "got.jpeg").stat().st_size
    assert row.original_sha256 != row.received_sha256


def test_only_whole_rows_are_read(row, tmp_path):
    path = tmp_path / "pairs.csv"
    assert read_manifest(path) == {}
    write_manifest(path, [row])
    assert read_manifest(path) == {"sent.png": row}
    with path.open("a") as file:
        file.write("other.png,got.jpeg,12\n\0\n")
    assert read_manifest(path) == {"sent.png": row}


@pytest.mark.parametrize("name", ["=cmd().png", "-x.png", "'@x.png", "two\nlines.png", 'a "b",c.png', "a\u2028b.png"])
def test_any_name_comes_back_and_none_is_a_formula(row, tmp_path, name):
    path = tmp_path / "pairs.csv"
    written = replace(row, original=name)
    write_manifest(path, [written, row])
    assert read_manifest(path) == {name: written, "sent.png": row}
    assert not [line for line in path.read_text().split("\n") if line.startswith(("=", "-", "@"))]
