"""How reports look: number formats, the style of figures, and the HTML page.

``numbers.py`` has every number format once, ``style.py`` the palette, matplotlib's style and the marks and legends that
figures share, ``html.py`` the templates' environment and pictures inside a page. All reports are made with it.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
