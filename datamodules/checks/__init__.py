"""What is in the data sets, and what would spoil a training on them: `covidmt data check`.

`check` brings all findings together and `text` prints them; `counts` compares the sets with the paper's, `files` opens
the images, and `shortcuts` asks what gives a class away besides the disease.

For use from outside: `check_data`, `CheckReport`, `print_report`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.checks.check import CheckReport, check_data
    from datamodules.checks.text import print_report

__all__ = ["CheckReport", "check_data", "print_report"]

_HOMES = {"CheckReport": "check", "check_data": "check", "print_report": "text"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
