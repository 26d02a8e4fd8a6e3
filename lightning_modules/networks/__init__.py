"""Base networks by name, with their feature maps and ImageNet weights.

`backbones` turns a network into maps, `weights` builds it and loads what a file or the hub's cache (`hubs`) holds;
`covidnet` is COVID-Net, re-implemented; `normalise` and `norm` stand before and inside a network.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.networks.backbones import Backbone, build_backbone
    from lightning_modules.networks.covidnet import build_covidnet
    from lightning_modules.networks.norm import to_group_norm
    from lightning_modules.networks.normalise import Normalise
    from lightning_modules.networks.weights import create_network, fetch_weights, load_weights, read_weights

__all__ = [
    "Backbone",
    "Normalise",
    "build_backbone",
    "build_covidnet",
    "create_network",
    "fetch_weights",
    "load_weights",
    "read_weights",
    "to_group_norm",
]

_HOMES = {
    "Backbone": "backbones",
    "Normalise": "normalise",
    "build_backbone": "backbones",
    "build_covidnet": "covidnet",
    "create_network": "weights",
    "fetch_weights": "weights",
    "load_weights": "weights",
    "read_weights": "weights",
    "to_group_norm": "norm",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
