"""Loaders for a scheduler's job: their workers survive its signals, and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import signal
import weakref
from collections.abc import Collection, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, IterableDataset

from datamodules.images.sockets import shorten_socket_paths
from experiments.batch import Batch

if TYPE_CHECKING:
    from lightning import Trainer  # seconds to import

Collated = TypeVar("Collated", covariant=True)


class JobLoader(DataLoader[Collated]):
    """A ``DataLoader`` whose workers ignore the signals with which a scheduler ends a job.

    A scheduler signals all of a job's processes, but the training decides when it ends. Workers that ignore SIGTERM
    would also ignore Python's at its end, which then waits for them for ever; so this loader kills those that are still
    there, such as after an error whose traceback holds their iterator.

    Lightning takes it for a loader that resumes: its batches are a function of the step, see
    :attr:`datamodules.sampler.StepSampler.start_step`.

    Args:
        dataset: As of ``DataLoader``.
        num_workers: As of ``DataLoader``.
        options: The other arguments of ``DataLoader``.

    Example:
        >>> loader = JobLoader(range(5), batch_size=2)
        >>> [batch.tolist() for batch in loader]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset, *, num_workers: int = 0, **options) -> None:
        if num_workers:
            shorten_socket_paths()
        super().__init__(
            dataset,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            **options,
        )

    def __iter__(self):
        """Start the workers, if they do not run yet."""
        others = set(multiprocessing.active_children())
        iterator = super().__iter__()
        workers = set(multiprocessing.active_children()) - others
        if workers:
            # of the process's end, before Python waits for its children; a process of multiprocessing has no atexit
            end = Finalize(None, _kill, args=(workers,), exitpriority=1)
            weakref.finalize(iterator, _forget, end, workers).atexit = False
        return iterator

    def state_dict(self) -> dict[str, int]:
        """Nothing: the step is all that there is to know, and Lightning keeps it."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing, see :meth:`state_dict`."""


class NoBatches(IterableDataset[Batch]):
    """Nothing, of unknown length: Lightning leaves out loop and hooks where it knows that there is no batch.

    The hooks at the end of the loop score the pairs, and in them the processes wait for each other.
    """

    def __iter__(self) -> Iterator[Batch]:
        return iter(())


def next_step(trainer: Trainer, length: int) -> int:
    """Return the step that the Trainer does next: 0, or where the checkpoint that it resumes was written.

    Args:
        trainer: In ``fit``, its checkpoint loaded.
        length: Steps an epoch.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    batches = trainer.fit_loop.epoch_loop.batch_progress.current
    begun = batches.processed if epochs.ready > epochs.processed else 0  # ty: ignore[missing-attribute]
    return epochs.processed * length + begun  # ty: ignore[missing-attribute]


def start_worker(worker: int) -> None:
    """Leave signals to the process that started this one, and the other cores to the other workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _forget(end: Finalize, workers: set[BaseProcess]) -> None:
    """Cancel the hook of an iterator that is gone, unless it left workers behind.

    In a cycle of garbage, such as an error that holds its own traceback, its queues may go first: then it tells its
    workers nothing, and ends them by SIGTERM, which they ignore.
    """
    if workers.isdisjoint(multiprocessing.active_children()):
        end.cancel()


def _kill(workers: Collection[BaseProcess]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises for a worker that was killed
    for worker in workers:
        worker.kill()
