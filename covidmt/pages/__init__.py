"""How reports look: number formats, the style of figures, and the HTML page.

``numbers.py`` has every number format once, ``style.py`` the palette, matplotlib's style and the marks and legends that
figures share, ``html.py`` the templates' environment and pictures inside a page. All reports are made with it.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.pages.html import data_uri, page_environment
    from covidmt.pages.style import Plot, page_style

__all__ = ["Plot", "data_uri", "page_environment", "page_style"]

_HOMES = {"Plot": "style", "data_uri": "html", "page_environment": "html", "page_style": "style"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
