"""The losses: of the tasks, how they become one, and those beyond the paper.

`tasks` has Table 3 of the paper, `weighting` its Eq. 5 and two other ways; `consistency`, `attention` and `surgery` are
additions: the same answer to the received image, heat inside the lungs, gradients of tasks that do not conflict.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.losses.attention import heat_outside
    from lightning_modules.losses.consistency import divergence
    from lightning_modules.losses.surgery import pcgrad_backward, project_conflicts
    from lightning_modules.losses.tasks import (
        BoxTerms,
        Term,
        box_terms,
        sigmoid_cross_entropy,
        softmax_cross_entropy,
        weight_penalty,
    )
    from lightning_modules.losses.weighting import LossWeighting

__all__ = [
    "BoxTerms",
    "LossWeighting",
    "Term",
    "box_terms",
    "divergence",
    "heat_outside",
    "pcgrad_backward",
    "project_conflicts",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "weight_penalty",
]

_HOMES = {
    "BoxTerms": "tasks",
    "LossWeighting": "weighting",
    "Term": "tasks",
    "box_terms": "tasks",
    "divergence": "consistency",
    "heat_outside": "attention",
    "pcgrad_backward": "surgery",
    "project_conflicts": "surgery",
    "sigmoid_cross_entropy": "tasks",
    "softmax_cross_entropy": "tasks",
    "weight_penalty": "tasks",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
