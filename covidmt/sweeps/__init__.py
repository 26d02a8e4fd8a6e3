"""Sweeps: one experiment many times, on this machine or on SLURM.

`run` submits what is not finished, `cancel` ends trials, `show` prints their table and logs. `folder` is a sweep on
disk, `runs` its MLflow runs, `status` how its trials are. `local` and `slurm` start the trials, each of which is a
`job`; `search` has Optuna draw their values, and `snapshot` copies the code that they import.

The names in ``__all__`` are for use from outside, and are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.sweeps.cancel import cancel_trials
    from covidmt.sweeps.folder import SweepFolder
    from covidmt.sweeps.run import run_sweep
    from covidmt.sweeps.status import trial_statuses

__all__ = ["SweepFolder", "cancel_trials", "run_sweep", "trial_statuses"]

_HOMES = {"SweepFolder": "folder", "cancel_trials": "cancel", "run_sweep": "run", "trial_statuses": "status"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
