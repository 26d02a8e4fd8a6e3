"""Lung segmentation: training the U-Net, scoring it, and the lung masks that OLS needs.

`train` makes a segmenter from a lung experiment, `segment` uses one, `scores` tells how good it is on images whose
lungs are known, and `masks` fills the cache of lung masks for a training or an evaluation.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
