"""What watches a training: PI, OLS and pictures at every validation epoch; resuming, preemption, pruning, the history.

`RobustnessCallback` and `GradCamOverlays` work with any LightningModule that has ``features`` and ``head``, and any
LightningDataModule that has image pairs. With `ResumeCheckpoint` and `Preemption` a training that was killed, or told
to leave, ends with the very bits of one that was left alone. All that covidmt needs of Lightning's private parts stands
in `callbacks.lightning_state`.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callbacks.history import MetricHistory
    from callbacks.overlays import GradCamOverlays
    from callbacks.pair_maps import PairMaps
    from callbacks.preemption import Preempted, Preemption
    from callbacks.pruning import OptunaPruning
    from callbacks.resume import ResumeCheckpoint
    from callbacks.robustness import RobustnessCallback

__all__ = [
    "GradCamOverlays",
    "MetricHistory",
    "OptunaPruning",
    "PairMaps",
    "Preempted",
    "Preemption",
    "ResumeCheckpoint",
    "RobustnessCallback",
]

_HOMES = {
    "GradCamOverlays": "overlays",
    "MetricHistory": "history",
    "OptunaPruning": "pruning",
    "PairMaps": "pair_maps",
    "Preempted": "preemption",
    "Preemption": "preemption",
    "ResumeCheckpoint": "resume",
    "RobustnessCallback": "robustness",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
