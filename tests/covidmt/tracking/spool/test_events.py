import os
from pathlib import Path

import pytest

from covidmt.tracking.delivery import BATCH_POINTS
from covidmt.tracking.spool.events import EventFile


@pytest.fixture
def events(tmp_path: Path) -> EventFile:
    return EventFile(tmp_path / "events.jsonl")


def metrics(points: int) -> dict:
    return {"op": "metrics", "points": [["loss", 1.0, 1000, step] for step in range(points)]}


def test_a_half_line_is_cut_off(tmp_path: Path, events: EventFile):
    events.append(metrics(1))
    size = events.size
    events.close()
    with events.path.open("ab") as file:
        file.write(b'{"op": "metr')
    again = EventFile(tmp_path / "events.jsonl")
    assert (again.size, list(again.read())) == (size, [metrics(1)])


def test_a_batch_is_one_event_or_metrics_up_to_the_limit(events: EventFile):
    half = metrics(BATCH_POINTS // 2)
    tags = {"op": "tags", "values": {"a": "b"}}
    for event in (half, half, half, tags, half):
        events.append(event)
    batches, end = [], 0
    while end < events.size:
        batch, end = events.read_batch(end)
        batches.append(batch)
    assert batches == [[half, half], [half], [tags], [half]]


def test_it_is_read_and_told_from_another_when_its_name_is_gone(events: EventFile):
    events.append(metrics(1))
    assert events.problem is None
    events.path.unlink()
    assert "No such file" in str(events.problem)
    events.path.write_text("another")
    assert "another file" in str(events.problem)
    events.append(metrics(2))
    assert list(events.read()) == [metrics(1), metrics(2)]
    assert events.read_all() is not None
    assert events.path.read_text() == "another"


def test_a_file_system_that_is_gone_gives_nothing(events: EventFile):
    events.append(metrics(1))
    os.close(events._file.fileno())  # its calls fail from now on
    assert events.read_all() is None
    assert "Bad file descriptor" in str(events.problem)
    with pytest.raises(OSError, match="Bad file descriptor"):
        events.append(metrics(1))
