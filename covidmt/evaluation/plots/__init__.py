"""The plots of an evaluation, drawn by matplotlib without a screen.

``draw.py`` draws them all; ``instability.py``, ``saliency.py``, ``decision.py`` and ``tasks.py`` those of the report's
chapters. For use from outside: ``draw_plots``, imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
