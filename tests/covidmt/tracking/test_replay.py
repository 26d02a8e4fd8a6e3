"""What a resumed run logs again, by hand."""

from covidmt.tracking.delivery import Point
from covidmt.tracking.replay import Replay


def test_what_was_logged_after_the_checkpoint_is_dropped_as_often_as_it_was_logged():
    replay = Replay(position=100)
    before, load = Point("a", 1, 100), Point("system/cpu", 2, 150)
    replay.expect([Point("a", 2, 130), before, Point("a", 2, 120), load, Point("b", 2, 140)])
    assert not replay.is_repeat("a", 1)
    assert not replay.is_repeat("system/cpu", 2)
    assert replay.position == 100  # nothing has come again yet
    assert replay.is_repeat("a", 2)
    assert replay.position == 120
    assert replay.is_repeat("b", 2)
    assert replay.position == 140  # all that follows is new
    assert replay.is_repeat("a", 2)
    assert not replay.is_repeat("a", 2)


def test_the_clock_never_stands_still_and_begins_after_the_checkpoint():
    ahead = 10**15
    replay = Replay(position=ahead)
    assert [replay.tick(), replay.tick()] == [ahead + 1, ahead + 2]
    assert replay.position == ahead + 2
    assert 0 < Replay(0).tick() < ahead
