"""Channels by name: what ``data.pairs.channel`` and ``--channel`` may say.

A channel is a function ``uint8 (H, W) -> bytes``: the grey image at its full size to the file that is received. It is
deterministic, and what :func:`datamodules.images.decode.decode` makes of the file is the received image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from datamodules.channels.encodings import SUBSAMPLINGS, jpeg, shrink, webp
from datamodules.channels.phone_apps import mms, signal, telegram, whatsapp, whatsapp_hd
from datamodules.channels.screen import camera, screenshot
from datamodules.images.decode import decode
from experiments.errors import UserError, nearest

Channel = Callable[[np.ndarray], bytes]

CHANNELS: dict[str, Channel] = {
    channel.__name__: channel for channel in (whatsapp, whatsapp_hd, telegram, signal, mms, screenshot, camera)
}
MIN_SIDE = 16


def get_channel(name: str, key: str = "data.pairs.channel") -> Channel:
    """Return the channel of that name.

    The name is one step or several joined by ``+`` (``whatsapp+whatsapp``: forwarded by a second person). A step is a
    name of :data:`CHANNELS`, or one of ``resize:SIDE``, ``jpeg:QUALITY``, ``jpeg:QUALITY:4:2:0`` (or ``4:2:2``,
    ``4:4:4``) and ``webp:QUALITY``; so ``resize:1600+jpeg:70`` is ``whatsapp``.

    Args:
        name: As above.
        key: The setting that named it, for the message.

    Raises:
        UserError: There is no such channel, or its number is out of range.

    Example:
        >>> film = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
        >>> get_channel("resize:1600+jpeg:70")(film) == get_channel("whatsapp")(film)
        True
        >>> get_channel("whatsap")
        Traceback (most recent call last):
        experiments.errors.UserError: data.pairs.channel: no channel 'whatsap'; did you mean 'whatsapp'?
    """
    if not all(step.strip() for step in name.split("+")):
        raise UserError(f"{key}: '{name}' has an empty step; write a channel on either side of each +")
    steps = tuple(_parse_step(step.strip(), key) for step in name.split("+"))
    return steps[0] if len(steps) == 1 else partial(send_through, channels=steps)


def send_through(image: np.ndarray, channels: tuple[Channel, ...]) -> bytes:
    """Send an image through several channels in a row; each gets what the one before delivered."""
    for channel in channels[:-1]:
        image = decode(channel(image))
    return channels[-1](image)


def _parse_step(step: str, key: str) -> Channel:
    name, colon, settings = step.partition(":")

    # an app or a screen: nothing to set
    if name in CHANNELS:
        if colon:
            raise UserError(
                f"{key}: {name} has no settings, but got '{step}'; write {name}, or a chain such as jpeg:70"
            )
        return CHANNELS[name]

    # a plain step and its number
    if name == "resize":
        return partial(shrink, side=_parse_number(settings, step, key, "a longest side in pixels", MIN_SIDE))
    if name == "webp":
        return partial(webp, quality=_parse_number(settings, step, key, "a quality", 1, 100))
    if name == "jpeg":
        quality, colon, subsampling = settings.partition(":")
        if colon and subsampling not in SUBSAMPLINGS:
            known = ", ".join(SUBSAMPLINGS)
            raise UserError(f"{key}: '{step}': no subsampling '{subsampling}'; known: {known}, e.g. jpeg:70:4:2:0")
        number = _parse_number(quality, step, key, "a quality", 1, 100)
        return partial(jpeg, quality=number, subsampling=subsampling or "4:2:0")

    raise UserError(f"{key}: no channel '{name}'{nearest(name, [*CHANNELS, 'resize', 'jpeg', 'webp'])}")


def _parse_number(text: str, step: str, key: str, what: str, low: int, high: int | None = None) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else None
    if number is None or number < low or (high is not None and number > high):
        allowed = f"from {low} to {high}" if high is not None else f"of at least {low}"
        name = step.partition(":")[0]
        example = 70 if high else 1600
        raise UserError(f"{key}: '{step}': {name} needs {what}, a whole number {allowed}, as in {name}:{example}")
    return number
