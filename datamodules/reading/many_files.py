"""What is asked of each of very many files, such as whether it is there: by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

Answer = TypeVar("Answer")

_THREADS = 16  # a network file system answers one call in milliseconds
_CHUNK = 128  # files a thread is given at once: on a local disk, to hand one over costs more than to ask it


def ask_files(ask: Callable[[str], Answer], paths: Iterable[str]) -> list[Answer]:
    """Return what a function says of each file, in their order.

    Args:
        ask: Spends its time in calls that let go of the interpreter, such as those to the file system.
        paths: The files.

    Raises:
        Exception: What ``ask`` raises.

    Example:
        >>> import os
        >>> ask_files(os.path.isfile, ["/", "/no/such/file"])
        [False, False]
    """
    names = list(paths)
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    if len(chunks) < 2:
        return [ask(name) for name in names]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(chain.from_iterable(pool.map(lambda chunk: [ask(name) for name in chunk], chunks)))
