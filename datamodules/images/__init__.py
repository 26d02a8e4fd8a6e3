"""From a file to what the network sees: decode and resize, cache, augment, hide parts, find lung masks.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.

`decode` is a module here; the function is `datamodules.decode`.

    >>> from datamodules.images import resize
    >>> import numpy as np
    >>> resize(np.array([[0, 200], [200, 0]], np.uint8), 1).tolist()
    [[100]]
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.images.augment import seeded, training_transform
    from datamodules.images.cache import ImageCache
    from datamodules.images.decode import resize
    from datamodules.images.masks import LungMasks, read_mask, write_mask

__all__ = [
    "ImageCache",
    "LungMasks",
    "read_mask",
    "resize",
    "seeded",
    "training_transform",
    "write_mask",
]

_HOMES = {
    "ImageCache": "cache",
    "LungMasks": "masks",
    "read_mask": "masks",
    "resize": "decode",
    "seeded": "augment",
    "training_transform": "augment",
    "write_mask": "masks",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
