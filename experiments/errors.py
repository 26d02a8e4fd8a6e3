"""The exception whose text is meant for the person at the keyboard, and the words it suggests."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something a person can put right: a key, a path, a column, a broken image, a dead server.

    The message says what is wrong, where, and what to do. The command line prints it alone and exits with status 2;
    ``--debug`` shows the traceback too.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` for the known word nearest to a wrong one, else the known words."""
    known = list(known)
    match = get_close_matches(word, known, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
