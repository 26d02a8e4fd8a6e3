"""Lung segmentation: training the U-Net, scoring it, and the lung masks that OLS needs.

`train` makes a segmenter from a lung experiment, `segment` uses one, `scores` tells how good it is on images whose
lungs are known, and `masks` fills the cache of lung masks for a training or an evaluation.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.lungs.masks import prepare_masks
    from covidmt.lungs.scores import cross_validate, dice, score_segmenter
    from covidmt.lungs.segment import export_segmenter, segment_files, write_masks
    from covidmt.lungs.train import train_lungs

__all__ = [
    "cross_validate",
    "dice",
    "export_segmenter",
    "prepare_masks",
    "score_segmenter",
    "segment_files",
    "train_lungs",
    "write_masks",
]

_HOMES = {
    "cross_validate": "scores",
    "dice": "scores",
    "export_segmenter": "segment",
    "prepare_masks": "masks",
    "score_segmenter": "scores",
    "segment_files": "segment",
    "train_lungs": "train",
    "write_masks": "segment",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
