"""Data sets in their own on-disk layouts, each turned into one sample table.

A file a data set: `covidx`, `rsna`, `nih`, `wacxr`, and a user's own `user_csv` and `user_folder`; each says what the
set is, where to get it and how to cite it. `table` says what a sample table is and lists the readers; `split` decides
who is trained and tested on, `patients` who is in which image, `files` finds the files.

For use from outside: `load_tables`, `label_columns`, `READERS`, `PatientRegistry`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.sources.patients import PatientRegistry
    from datamodules.sources.table import READERS, label_columns, load_tables

__all__ = ["READERS", "PatientRegistry", "label_columns", "load_tables"]

_HOMES = {"READERS": "table", "PatientRegistry": "patients", "label_columns": "table", "load_tables": "table"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
