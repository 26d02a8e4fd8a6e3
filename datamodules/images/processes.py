"""Many small jobs in several processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from rich.progress import track

from experiments.errors import UserError

JOBS_EACH = 150  # another process takes as long to start as one takes to do so many

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int | None, title: str
) -> Iterator[Result]:
    """Results in the order in which they are ready, with a progress bar; one process: in this one.

    Raises:
        UserError: A process was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(processes or 1 + len(jobs) // JOBS_EACH, processes or cores, len(jobs))
    if processes <= 1:
        yield from track(map(function, jobs), title, total=len(jobs))
        return
    context = multiprocessing.get_context("forkserver")  # a clean parent, that has imported what they need but once
    context.set_forkserver_preload([function.__module__])
    with ProcessPoolExecutor(processes, context, initializer=_begin) as pool:
        try:
            futures = [pool.submit(function, job) for job in jobs]
            for future in track(as_completed(futures), title, total=len(jobs)):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process was killed, perhaps for lack of memory; run again with fewer --processes"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Interrupts are the parent's; killed, it takes this process with it, which would go on with the jobs it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
