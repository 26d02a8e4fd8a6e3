import os

import pytest

from covidmt.pairs.file_times import sort_by_time, time_in_name


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("IMG-20210203-WA0012.jpg", ("20210203", "", 12)),
        ("WhatsApp Image 2021-02-03 at 9.05.06.jpeg", ("20210203", "090506", 0)),
        ("WhatsApp Image 2021-02-03 at 1.05.06 PM (2).jpeg", ("20210203", "130506", 2)),
        ("WhatsApp Image 2021-02-03 at 12.05.06 AM.jpeg", ("20210203", "000506", 0)),
        ("photo_20210203-101112.jpg", ("20210203", "101112", 0)),
        ("00000773_001.png", None),
    ],
)
def test_time_in_a_name(name, time):
    assert time_in_name(name) == time


def test_order_of_time(tmp_path):
    paths = [tmp_path / f"IMG-2021020{day}-WA000{n}.jpg" for day, n in ((4, 1), (3, 10), (3, 9))]
    paths = [path.with_name(path.name.replace("WA00010", "WA0010")) for path in paths]
    for age, path in enumerate(paths):
        path.touch()
        os.utime(path, (1e9 + age, 1e9 + age))
    assert [path.stem[-6:] for path in sort_by_time(paths)] == ["WA0009", "WA0010", "WA0001"]
    other = tmp_path / "cat.jpg"
    other.touch()
    assert sort_by_time([other, *paths]) == [*paths, other]
