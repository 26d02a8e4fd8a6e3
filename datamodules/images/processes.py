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

from datamodules.images.sockets import shorten_socket_paths
from experiments.errors import UserError

JOBS_EACH = 150  # another process takes as long to start as one takes to do so many

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int | None, title: str
) -> Iterator[Result]:
    """Yield the jobs' results in the order in which they are ready, and show a progress bar.

    Args:
        function: Of a module, so that other processes find it.
        jobs: Its arguments.
        processes: How many at a time; 1: in this one; None: as many as there are cores, fewer for few jobs.
        title: Of the progress bar.

    Raises:
        UserError: A process was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(processes or 1 + len(jobs) // JOBS_EACH, processes or cores, len(jobs))
    if processes <= 1:
        yield from track(map(function, jobs), title, total=len(jobs))
        return

    shorten_socket_paths()
    context = multiprocessing.get_context("forkserver")  # a clean parent, that has imported what they need but once
    context.set_forkserver_preload([function.__module__])
    with ProcessPoolExecutor(processes, context, initializer=_start_process) as pool:
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


def _start_process() -> None:
    """Leave interrupts to the parent, and end with it: killed, it would leave this process to do the jobs it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
