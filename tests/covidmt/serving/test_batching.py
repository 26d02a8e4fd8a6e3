from __future__ import annotations

import threading
import time

import pytest

from covidmt.serving.batching import Batcher


def test_what_comes_together_is_answered_together_and_in_order():
    sizes: list[int] = []
    gate = threading.Event()

    def answer(items):
        gate.wait(10)
        sizes.append(len(items))
        return [item + 1 for item in items]

    batcher = Batcher(answer, wait=0.02, largest=4)
    futures = [batcher.submit(item) for item in range(10)]
    gate.set()
    assert [future.result(10) for future in futures] == list(range(1, 11))
    assert max(sizes) == 4
    assert sum(sizes) == 10
    batcher.close()


def test_it_waits_for_what_is_on_its_way_and_for_nothing_else():
    sizes: list[int] = []
    batcher = Batcher(lambda items: sizes.append(len(items)) or items, wait=5.0, largest=4)
    start = time.monotonic()
    batcher.submit(1).result(10)  # alone
    assert time.monotonic() - start < 2
    batcher.expect(1)
    first = batcher.submit(2)
    time.sleep(0.2)
    second = batcher.submit(3)
    batcher.expect(-1)
    assert (first.result(10), second.result(10)) == (2, 3)
    assert sizes == [1, 2]
    batcher.close()


def test_idle_workers_share_what_is_there_and_answer_at_the_same_time():
    sizes: list[int] = []
    both = threading.Barrier(2)

    def answer(items):
        sizes.append(len(items))
        both.wait(10)  # nobody gets here alone
        return items

    batcher = Batcher(answer, wait=5.0, largest=8, workers=2)
    batcher.expect(8)
    futures = []
    for item in range(8):
        batcher.expect(-1)
        futures.append(batcher.submit(item))
    assert [future.result(10) for future in futures] == list(range(8))
    assert sizes == [4, 4]
    batcher.close()
    assert not any(thread.is_alive() for thread in batcher._threads)


def test_a_mistake_is_its_batchs_and_the_end_answers_what_was_submitted():
    batcher = Batcher(lambda items: [1 / item for item in items], wait=0.0, largest=1)
    futures = [batcher.submit(item) for item in (0, 2)]
    batcher.close()
    with pytest.raises(ZeroDivisionError):
        futures[0].result(0)
    assert futures[1].result(0) == 0.5
