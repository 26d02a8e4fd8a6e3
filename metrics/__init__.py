"""Scores of models on images and image pairs, and how sure one can be of them.

PI, IOL and OLS, classification and detection scores as torchmetrics, exact over any number of processes; for finished
runs, in NumPy: confidence intervals over patients and trainings, differences on the same images, controls.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.

    >>> from metrics import wilson
    >>> wilson(0, 25)[0]
    0.0
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
