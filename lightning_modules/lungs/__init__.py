"""Where the lungs are: the lung U-Net (paper 001), and segmenters by name, among them the trained one.

`unet` and `encoder` are the network and its training; `segmenters` loads `lung_unet.ckpt`, which comes with covidmt, a
checkpoint of one's own, or torchxrayvision's PSPNet.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.lungs.encoder import build_unet
    from lightning_modules.lungs.segmenters import Segmenter, load_segmenter, segmenter_id
    from lightning_modules.lungs.unet import LungUNet

__all__ = [
    "LungUNet",
    "Segmenter",
    "build_unet",
    "load_segmenter",
    "segmenter_id",
]

_HOMES = {
    "LungUNet": "unet",
    "Segmenter": "segmenters",
    "build_unet": "encoder",
    "load_segmenter": "segmenters",
    "segmenter_id": "segmenters",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
