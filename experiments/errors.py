"""The exception whose text is meant for the person at the keyboard, and the words it suggests."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something a person can put right: a key, a path, a column, a broken image, a dead server.

    The message says what is wrong, where, and what to do. The command line prints it alone and exits with status 2;
    ``--debug`` shows the traceback too.

    >>> raise UserError("mine.yaml: seed: must be 0 or more, is -1")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: seed: must be 0 or more, is -1
    """


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
