"""Requests that come together are answered together: one pass of the network for all of them, or one on each core."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Collect items for a moment, and answer them at once, on threads of its own.

    It waits only for items that are known to be on their way (`expect`): one client alone waits for nobody. Workers
    that have nothing to do share what is there: of eight items and two such workers, each gets four.

    Args:
        answer: Items in order -> their answers in order; an exception that it raises goes to each of them.
        wait: Seconds, from a batch's first item on, that it waits for those on their way.
        largest: Items in a batch.
        workers: Batches that are answered at the same time; ``answer`` is called from so many threads.

    Example:
        >>> batcher = Batcher(lambda items: [item * 2 for item in items], wait=0.02, largest=8)
        >>> futures = [batcher.submit(item) for item in range(3)]
        >>> [future.result() for future in futures]
        [0, 2, 4]
        >>> batcher.close()
    """

    def __init__(
        self, answer: Callable[[Sequence[Item]], Sequence[Answer]], *, wait: float, largest: int, workers: int = 1
    ) -> None:
        self._answer = answer
        self._wait, self._largest = wait, largest
        self._queue: queue.Queue[tuple[Item, Future[Answer]] | None] = queue.Queue()
        self._expected, self._idle = 0, workers
        self._mutex, self._collecting = threading.Lock(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"batcher {number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def expect(self, change: int) -> None:
        """Note that an item is on its way (1), or will not come (-1)."""
        with self._mutex:
            self._expected += change

    def submit(self, item: Item) -> Future[Answer]:
        """Return the answer's future."""
        future: Future[Answer] = Future()
        self._queue.put((item, future))
        return future

    def close(self) -> None:
        """Answer what was submitted, and end the threads."""
        self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._collecting:  # one worker after the other
                batch = self._collect()
                self._change_idle(-1)
            if not batch:
                return
            self._answer_batch(batch)
            self._change_idle(1)

    def _answer_batch(self, batch: Sequence[tuple[Item, Future[Answer]]]) -> None:
        futures = [future for _, future in batch]
        try:
            answers = self._answer([item for item, _ in batch])
            for future, answer in zip(futures, answers, strict=True):
                future.set_result(answer)
        except Exception as error:  # theirs, not this thread's end
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def _change_idle(self, change: int) -> None:
        with self._mutex:
            self._idle += change

    def _share(self, collected: int) -> int:
        """Return how many items a batch may have: this worker's share of what is there and on its way."""
        with self._mutex:
            there = collected + self._queue.qsize() + self._expected
            return min(self._largest, math.ceil(there / max(self._idle, 1)))

    def _collect(self) -> list[tuple[Item, Future[Answer]]]:
        """Return the next batch; empty at the end."""
        first = self._queue.get()
        if first is None:
            self._queue.put(None)  # for the next worker
            return []
        batch, end = [first], time.monotonic() + self._wait
        while len(batch) < self._share(len(batch)):
            left = end - time.monotonic()
            waiting = left > 0 and self._expected > 0
            try:
                entry = self._queue.get(timeout=min(left, 0.002)) if waiting else self._queue.get_nowait()
            except queue.Empty:
                if waiting:
                    continue
                break
            if entry is None:  # the end comes after this batch
                self._queue.put(None)
                break
            batch.append(entry)
        return batch
