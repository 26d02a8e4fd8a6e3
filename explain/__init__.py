"""What explains a decision: heat maps and their regions, the engines that make them, and the picture of a pair.

The names in ``__all__`` are for use from outside, beside :func:`explain.gradcam.gradcam`, Grad-CAM of one feature map;
they are imported when they are first asked for.

    >>> from explain import Decision
    >>> Decision("COVID-19", index=2).threshold
    0.5
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explain.cam import Cam, Explainable, engines
    from explain.decision import Decision
    from explain.gradcam import GradCam
    from explain.heat import heat_map, heat_region
    from explain.picture import Side, draw_pair

__all__ = [
    "Cam",
    "Decision",
    "Explainable",
    "GradCam",
    "Side",
    "draw_pair",
    "engines",
    "heat_map",
    "heat_region",
]

_HOMES = {
    "Cam": "cam",
    "Decision": "decision",
    "Explainable": "cam",
    "GradCam": "gradcam",
    "Side": "picture",
    "draw_pair": "picture",
    "engines": "cam",
    "heat_map": "heat",
    "heat_region": "heat",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
