"""The networks and how they are trained: base networks, heads, losses, the multi-task module, the lung U-Net.

`multitask` is the heart: six tasks on one base network. It is made of `networks/` (base networks by name, their
weights), `heads` and `box_codes`, `tasks` (a head with its loss and scores), `losses/` and `optimizers`. `privacy` and
`private_multitask` train with differential privacy; `checkpoint` and `load` read what was trained; `lungs/` finds the
lungs.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.heads import BoxHead, BoxOutput, ClassificationHead
    from lightning_modules.load import build_module, load_module
    from lightning_modules.multitask import MultiTaskModule
    from lightning_modules.optimizers import build_optimizer, build_scheduler
    from lightning_modules.private_multitask import PrivateMultiTaskModule

__all__ = [
    "BoxHead",
    "BoxOutput",
    "ClassificationHead",
    "MultiTaskModule",
    "PrivateMultiTaskModule",
    "build_module",
    "build_optimizer",
    "build_scheduler",
    "load_module",
]

_HOMES = {
    "BoxHead": "heads",
    "BoxOutput": "heads",
    "ClassificationHead": "heads",
    "MultiTaskModule": "multitask",
    "PrivateMultiTaskModule": "private_multitask",
    "build_module": "load",
    "build_optimizer": "optimizers",
    "build_scheduler": "optimizers",
    "load_module": "load",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
