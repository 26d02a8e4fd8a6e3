"""Data sets of chest X-rays, from their publishers' own layouts to batches and image pairs.

The wings: ``sources`` (data sets' layouts as sample tables), ``images`` (decode, cache, augment, masks), ``channels``
(what a phone does to an image), ``demo`` (made-up data sets) and ``checks``. Here: what a training step holds
(``groups``, ``sampler``), the images of a batch (``dataset``), the pairs of the robustness scores (``pairs``), and the
datamodules of multi-task trainings (``multitask``) and of the lung U-Net (``lungs``).

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.

    >>> from datamodules import get_channel
    >>> channel = get_channel("whatsapp")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.channels.registry import get_channel
    from datamodules.images.decode import decode, resize
    from datamodules.images.masks import LungMasks
    from datamodules.lungs import LungDataModule
    from datamodules.multitask import MultiTaskDataModule
    from datamodules.pairs import PairDataset
    from datamodules.sampler import StepSampler

__all__ = [
    "LungDataModule",
    "LungMasks",
    "MultiTaskDataModule",
    "PairDataset",
    "StepSampler",
    "decode",
    "get_channel",
    "resize",
]

_HOMES = {
    "LungDataModule": "lungs",
    "LungMasks": "images.masks",
    "MultiTaskDataModule": "multitask",
    "PairDataset": "pairs",
    "StepSampler": "sampler",
    "decode": "images.decode",
    "get_channel": "channels.registry",
    "resize": "images.decode",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
