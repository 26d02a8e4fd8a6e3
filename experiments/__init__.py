"""What to run: the shipped YAML files, the schemas that they obey, loading and checking, the trials of a sweep.

Also what data and models exchange (`experiments.batch`), and the one exception whose text is meant for people. The
names in ``__all__`` are for use from outside; they are imported when they are first asked for.

    >>> from experiments import load_experiment
    >>> load_experiment("experiments/demo.yaml", ["seed=3"]).seed
    3
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.batch import Batch, Pair, TaskBatch
    from experiments.errors import UserError
    from experiments.load import load_experiment, load_lungs_experiment, to_yaml
    from experiments.lungs_schema import LungsExperiment
    from experiments.schema import Experiment, Task
    from experiments.sweep_schema import Sweep
    from experiments.trials import Trial, load_sweep

__all__ = [
    "Batch",
    "Experiment",
    "LungsExperiment",
    "Pair",
    "Sweep",
    "Task",
    "TaskBatch",
    "Trial",
    "UserError",
    "load_experiment",
    "load_lungs_experiment",
    "load_sweep",
    "to_yaml",
]

_HOMES = {
    "Batch": "batch",
    "Experiment": "schema",
    "LungsExperiment": "lungs_schema",
    "Pair": "batch",
    "Sweep": "sweep_schema",
    "Task": "schema",
    "TaskBatch": "batch",
    "Trial": "trials",
    "UserError": "errors",
    "load_experiment": "load",
    "load_lungs_experiment": "load",
    "load_sweep": "trials",
    "to_yaml": "load",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
