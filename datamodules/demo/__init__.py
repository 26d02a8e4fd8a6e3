"""Made-up data sets to try everything out with: `covidmt data demo`.

`write` makes the folder, `layouts` writes each data set's own layout, `films` decides who has which finding in which
split. One chest X-ray is drawn by `phantom`, from `anatomy`, `findings` and the shapes of `canvas`.

For use from outside: `write_demo`, `draw_chest`, `Anatomy`, `Chest`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.demo.anatomy import Anatomy
    from datamodules.demo.phantom import Chest, draw_chest
    from datamodules.demo.write import write_demo

__all__ = ["Anatomy", "Chest", "draw_chest", "write_demo"]

_HOMES = {"Anatomy": "anatomy", "Chest": "phantom", "draw_chest": "phantom", "write_demo": "write"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
