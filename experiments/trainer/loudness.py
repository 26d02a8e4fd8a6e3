"""How much a command says: `-q` leaves the results, `-v` adds notes; the level of the loggers carries it."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

ROOMS = ("covidmt", "callbacks", "lightning_modules", "datamodules", "metrics", "explain", "experiments")


@contextmanager
def loudness(steps: int) -> Generator[None]:
    """Let all packages say less or more inside.

    Args:
        steps: Negative: errors and results alone. 0: warnings, and what a person waits for. Positive: notes too,
            Lightning's among them.

    Example:
        >>> with loudness(-1):
        ...     is_quiet(), is_talkative()
        (True, False)
        >>> is_quiet(), is_talkative()
        (False, False)
    """
    if steps == 0:
        yield
        return
    loggers = [logging.getLogger(room) for room in ROOMS]
    before = [logger.level for logger in loggers]
    notes = logging.StreamHandler()
    for logger in loggers:
        logger.setLevel(logging.ERROR if steps < 0 else logging.INFO)
        logger.addHandler(notes)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.removeHandler(notes)


def is_quiet() -> bool:
    """Return whether a command says no more than errors and results."""
    return not logging.getLogger("covidmt").isEnabledFor(logging.WARNING)


def is_talkative() -> bool:
    """Return whether a command tells notes, too."""
    return logging.getLogger("covidmt").isEnabledFor(logging.INFO)
