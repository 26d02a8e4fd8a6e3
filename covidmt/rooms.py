"""The project's packages ("rooms"): whether Python finds ours under their names, and how commands import them."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("callbacks", "covidmt", "datamodules", "experiments", "explain", "lightning_modules", "metrics")


def foreign_room() -> str | None:
    """Return what stands in the place of one of our packages, in a sentence; None if nothing does.

    The packages have plain names, so that a file ``metrics.py`` or a folder ``callbacks/`` in the working folder, in
    ``PYTHONPATH`` or of another installed package can hide them.

    Example:
        >>> from covidmt.rooms import foreign_room
        >>> foreign_room() is None
        True
    """
    home = Path(__file__).parents[1]
    for room in ROOMS:
        spec = find_spec(room)
        if spec is None:
            return f"{home / room}: this package of covidmt is missing; install covidmt again"
        place = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
        if Path(place) not in (home / room / "__init__.py", home / room):
            return (
                f"{place}: hides covidmt's own package {room!r}; rename it, start covidmt in another folder, "
                "or take it out of PYTHONPATH"
            )
    return None


@contextmanager
def quick_imports() -> Generator[None]:
    """Where a command imports what it works with: garbage is not looked for meanwhile, which would take its time.

    PyTorch and the libraries around it are a million objects that stay, and Python looks through all of them time and
    again while they come, and afterwards too: those of a process's first imports are then left out.

    Example:
        >>> import gc
        >>> with quick_imports():
        ...     import decimal
        ...     print(gc.isenabled())
        False
        >>> gc.isenabled()
        True
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _leave_out_imported()
        if was_enabled:
            gc.enable()


@cache
def _leave_out_imported() -> None:
    """Look for garbage among later objects alone; once a process: later imports may follow work that left some."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # extension modules complain of objects that are left when Python ends
