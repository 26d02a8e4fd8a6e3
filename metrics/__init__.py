"""Scores of models on images and image pairs, and how sure one can be of them.

PI, IOL and OLS, classification and detection scores as torchmetrics, exact over any number of processes; for finished
runs, in NumPy: scores of weighted images, a bootstrap over patients, confidence intervals, paired tests and controls.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.

    >>> from metrics import wilson
    >>> wilson(0, 25)[0]
    0.0
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrics.bootstrap import Estimate, PatientBootstrap
    from metrics.boxes import BoxScores
    from metrics.classification import ClassificationScores
    from metrics.instability import PredictionInstability
    from metrics.intervals import t_interval, wilson
    from metrics.paired import holm, mcnemar
    from metrics.saliency import OutOfLungSaliency, iol

__all__ = [
    "BoxScores",
    "ClassificationScores",
    "Estimate",
    "OutOfLungSaliency",
    "PatientBootstrap",
    "PredictionInstability",
    "holm",
    "iol",
    "mcnemar",
    "t_interval",
    "wilson",
]

_HOMES = {
    "BoxScores": "boxes",
    "ClassificationScores": "classification",
    "Estimate": "bootstrap",
    "OutOfLungSaliency": "saliency",
    "PatientBootstrap": "bootstrap",
    "PredictionInstability": "instability",
    "holm": "paired",
    "iol": "saliency",
    "mcnemar": "paired",
    "t_interval": "intervals",
    "wilson": "intervals",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
