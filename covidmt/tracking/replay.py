"""What a resumed run logs again: from its checkpoint up to the point where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from covidmt.tracking.delivery import Point, parse_picture
from covidmt.tracking.store import Store, StoreAway

if TYPE_CHECKING:
    from mlflow.entities import Run

SECONDS = 60.0  # in which the store tells a resumed run what it has, all in all


class Replay:
    """The clock of a run's events, and which of them are repeats.

    A run that was stopped between two checkpoints logs the steps after the first one a second time. The store keeps
    what came first, as it cannot forget anything, so each repeat is dropped: by its key and step, as often as it was
    logged after the checkpoint.

    Args:
        position: The `position` that the checkpoint holds; 0: the run begins.

    Example:
        >>> from covidmt.tracking.delivery import Point
        >>> from covidmt.tracking.replay import Replay
        >>> replay = Replay(position=1000)
        >>> replay.expect([Point("loss", 8, 990), Point("loss", 9, 1010), Point("loss", 10, 1020)])
        >>> replay.is_repeat("loss", 9), replay.position
        (True, 1010)
        >>> replay.is_repeat("loss", 10), replay.is_repeat("loss", 10), replay.position
        (True, False, 1020)
    """

    def __init__(self, position: int) -> None:
        self._clock = position
        self._repeats: dict[tuple[str, int], list[int]] = {}  # timestamps of what will be logged again, oldest first
        self._repeated_to = self._repeats_end = 0

    @property
    def position(self) -> int:
        """A timestamp in ms: all that is logged after this moment has, or had before it was repeated, a larger one."""
        return self._clock if self._repeated_to == self._repeats_end else self._repeated_to

    def expect(self, logged: Iterable[Point]) -> None:
        """Expect a repeat of everything that was logged after the checkpoint.

        Args:
            logged: Metrics and pictures in the store and in the spool.
        """
        later = [point for point in logged if point.timestamp > self._clock and not point.key.startswith("system/")]
        for point in sorted(later, key=lambda point: point.timestamp):
            self._repeats.setdefault((point.key, point.step), []).append(point.timestamp)
        self._repeated_to = self._clock
        self._clock = self._repeats_end = max([self._clock, *(point.timestamp for point in later)])

    def is_repeat(self, key: str, step: int) -> bool:
        """Return whether this is logged for the second time; counts it as repeated."""
        timestamps = self._repeats.get((key, step))
        if not timestamps:
            return False
        self._repeated_to = max(self._repeated_to, timestamps.pop(0))
        return True

    def tick(self) -> int:
        """Return the time in ms, later than any before: the timestamps tell what came after a checkpoint."""
        self._clock = max(time.time_ns() // 1_000_000, self._clock + 1)
        return self._clock


def read_logged(store: Store, run: Run, position: int) -> set[Point]:
    """Return the metrics and pictures that a run has in the store from after a checkpoint.

    Keys that have got nothing since are not asked for; the others all at once.

    Args:
        store: The store.
        run: As the store has it now.
        position: The checkpoint's `Replay.position`.

    Raises:
        StoreAway: The store takes longer than `SECONDS`.
    """
    client, run_id = store.client, run.info.run_id
    newest = {metric.key: metric.timestamp for metric in run.data.to_proto().metrics}
    keys = [key for key, time in newest.items() if time > position and not key.startswith("system/")]
    pool = ThreadPoolExecutor(16, "mlflow-history")
    histories = [pool.submit(client.get_metric_history, run_id, key) for key in keys]
    listing = pool.submit(client.list_artifacts, run_id, "images")
    try:
        _, unanswered = wait([*histories, listing], SECONDS)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if unanswered:
        raise StoreAway(
            f"tracking store {store} has not told within {SECONDS:.0f} s what run {run_id} logged after its "
            "checkpoint: see why it is slow, then give the same command again"
        )

    points = {Point(point.key, point.step, point.timestamp) for each in histories for point in each.result()}
    pictures = {parse_picture(file.path) for file in listing.result()}
    return points | {picture for picture in pictures if picture}
