"""From a file to what the network sees: decode and resize, cache, augment, hide parts, find lung masks.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.

`decode` is a module here; the function is `datamodules.decode`.

    >>> from datamodules.images import resize
    >>> import numpy as np
    >>> resize(np.array([[0, 200], [200, 0]], np.uint8), 1).tolist()
    [[100]]
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
