"""Channels: what happens to an X-ray between the doctor who sends it and the model.

`phone_apps` simulates WhatsApp and other messaging apps, `screen` a screenshot and a photo of a monitor; `encodings`
has plain steps (scale, JPEG, WebP) and `registry` finds a channel by its name.

For use from outside: `get_channel`, `Channel`, `CHANNELS`, `whatsapp`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.channels.phone_apps import whatsapp
    from datamodules.channels.registry import CHANNELS, Channel, get_channel

__all__ = ["CHANNELS", "Channel", "get_channel", "whatsapp"]

_HOMES = {"CHANNELS": "registry", "Channel": "registry", "get_channel": "registry", "whatsapp": "phone_apps"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
