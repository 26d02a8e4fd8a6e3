"""The main job: `train` in five steps, which run it resumes, and the table that it ends with.

For use from outside are `covidmt.training.train.train`, and the names in ``__all__``, which are imported when they are
first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.training.resume import RunFolder
    from covidmt.training.summary import summary_table

__all__ = [
    "RunFolder",
    "summary_table",
]

_HOMES = {
    "RunFolder": "resume",
    "summary_table": "summary",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
