"""Where runs are logged, kept and found again.

`store` is the MLflow store and `logger` Lightning's logger, which writes to a `spool` on disk; `sender` sends that by
`delivery`, and `replay` drops what a resumed run logs a second time. `folders` has the layout of ``mlruns/``,
`provenance` says what a run was made of, `checkpoints` finds a trained network by a run's id, `history` reads how it
trained, `system_metrics` measures the machine and `ui` opens MLflow's pages.

The names in ``__all__`` are for use from outside, and are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.tracking.checkpoints import find_checkpoint
    from covidmt.tracking.folders import RunFolder
    from covidmt.tracking.logger import MlflowSpoolLogger
    from covidmt.tracking.sender import sync
    from covidmt.tracking.store import Store

__all__ = ["MlflowSpoolLogger", "RunFolder", "Store", "find_checkpoint", "sync"]

_HOMES = {
    "MlflowSpoolLogger": "logger",
    "RunFolder": "folders",
    "Store": "store",
    "find_checkpoint": "checkpoints",
    "sync": "sender",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
