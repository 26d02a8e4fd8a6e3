"""What explains a decision: heat maps and their regions, the engines that make them, and the picture of a pair.

The names in ``__all__`` are for use from outside, beside :func:`explain.gradcam.gradcam`, Grad-CAM of one feature map;
they are imported when they are first asked for.

    >>> from explain import Decision
    >>> Decision("COVID-19", index=2).threshold
    0.5
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
