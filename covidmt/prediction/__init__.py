"""A trained network on image files: ``covidmt predict``, and the same from Python.

``predictor`` predicts and explains, ``answer`` puts it into sentences, ``picture`` draws it, ``predict`` writes and
prints all of it. The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
