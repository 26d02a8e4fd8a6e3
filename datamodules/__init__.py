"""Data sets of chest X-rays, from their publishers' own layouts to batches and image pairs.

The wings: ``sources`` (data sets' layouts as sample tables), ``images`` (decode, cache, augment, masks), ``channels``
(what a phone does to an image), ``demo`` (made-up data sets) and ``checks``. Here: what a training step holds
(``groups``, ``sampler``), the images of a batch (``dataset``), the pairs of the robustness scores (``pairs``), and the
datamodules of multi-task trainings (``multitask``) and of the lung U-Net (``lungs``).

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.

    >>> from datamodules import get_channel
    >>> channel = get_channel("whatsapp")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
