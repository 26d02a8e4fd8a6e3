"""A trained network on image files: ``covidmt predict``, and the same from Python.

``predictor`` predicts and explains, ``answer`` puts it into sentences, ``picture`` draws it, ``predict`` writes and
prints all of it. The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.prediction.answer import NOTICE, Prediction, Sentence
    from covidmt.prediction.predict import predict_images
    from covidmt.prediction.predictor import ExplainedImage, Predictor

__all__ = ["NOTICE", "ExplainedImage", "Prediction", "Predictor", "Sentence", "predict_images"]

_HOMES = {
    "NOTICE": "answer",
    "ExplainedImage": "predictor",
    "Prediction": "answer",
    "Predictor": "predictor",
    "Sentence": "answer",
    "predict_images": "predict",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
