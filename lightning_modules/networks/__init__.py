"""Base networks by name, with their feature maps and ImageNet weights.

`backbones` turns a network into maps, `weights` builds it and loads what a file or the hub's cache (`hubs`) holds;
`covidnet` is COVID-Net, re-implemented; `normalise` and `norm` stand before and inside a network.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
