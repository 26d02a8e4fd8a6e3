"""The exception whose text is meant for the person at the keyboard, and the words it suggests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from experiments.names import printable


class UserError(Exception):
    """Something a person can put right: a key, a path, a column, a broken image, a dead server.

    The message says what is wrong, where, and what to do. The command line prints it alone and exits with status 2;
    ``--debug`` shows the traceback too.

    >>> raise UserError("mine.yaml: seed: must be 0 or more, is -1")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: seed: must be 0 or more, is -1

    Args:
        message: Control characters in it, as of a file's name, are shown as escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, keep="\n"))  # line breaks of lists that a message holds


def first_line(error: BaseException | None) -> str:
    r"""Return the first line of what an error says; of one that says nothing its kind.

    >>> first_line(ValueError("no such run\nat line 3")), first_line(TimeoutError())
    ('no such run', 'TimeoutError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__


_SHARED_MEMORY = re.compile(
    r"</?torch_\w+>.*No space left|shared memory ?\(shm\)|out of shared memory|Shared memory manager|"
    r"DataLoader worker .*Bus error"
)


def explain_shared_memory(error: BaseException) -> str | None:
    """Return what to do where PyTorch's words mean that shared memory is full; None: they mean something else.

    >>> print(explain_shared_memory(RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)")))
    /dev/shm is full, through which loader workers pass images: give the container more (docker run --shm-size=8g), ...
    >>> explain_shared_memory(RuntimeError("shapes do not fit")) is None
    True
    """
    if not _SHARED_MEMORY.search(str(error)):
        return None
    return (
        "/dev/shm is full, through which loader workers pass images: give the container more "
        "(docker run --shm-size=8g), or start fewer workers (data.num_workers; 0 needs none of it), then give the same "
        "command again"
    )


def nearest(word: str, words: Iterable[str]) -> str:
    """Return what a message says after a wrong word: the right word nearest to it, else all right words.

    >>> nearest("batchsize", ["batch_size", "labels"])
    "; did you mean 'batch_size'?"
    >>> nearest("x", ["batch_size", "labels"])
    '; known: batch_size, labels'
    >>> nearest("x", [])
    ''
    """
    words = list(words)
    match = get_close_matches(word, words, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(words))}" if words else ""
