"""Channels by name: what ``data.pairs.channel`` and ``--channel`` may say.

A channel is a function ``uint8 (H, W) -> bytes``: the grey image at its full size to the file that is received. It is
deterministic, also where its numbers are drawn (:mod:`.chance`), and what :func:`datamodules.images.decode.decode`
makes of the file is the received image.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from datamodules.channels.chance import Channel, RandomChannel, Range, Step, send_through
from datamodules.channels.encodings import SUBSAMPLINGS, jpeg, shrink, webp
from datamodules.channels.fitted import read_route, send_fitted
from experiments.errors import UserError, nearest
from experiments.plugins.choices import Choice, split_chain
from experiments.plugins.registry import choose_function, place_of, points

CHANNELS = tuple(points("channels"))  # the names of apps and screens, and of other packages' channels
MIN_SIDE = 16

# What an app's name may set, as in whatsapp:quality=80,side=1280.
_SETTINGS = {"quality": (1, 100), "side": (MIN_SIDE, None)}
_BOTH = ("quality", "side")
_SETTABLE = {"whatsapp": _BOTH, "whatsapp_web": _BOTH, "whatsapp_hd": _BOTH, "telegram": _BOTH, "signal": ("quality",)}


def get_channel(name: str, key: str = "data.pairs.channel", seed: int = 0) -> Channel:
    """Return the channel of that name.

    The name is one step or several joined by ``+`` (``whatsapp+whatsapp``: forwarded by a second person). A step is a
    name of :data:`CHANNELS`, or one of ``resize:SIDE``, ``jpeg:QUALITY``, ``jpeg:QUALITY:4:2:0`` (or ``4:2:2``,
    ``4:4:4``), ``webp:QUALITY`` and ``fitted:FILE`` (of `covidmt pairs compare --out`); so ``resize:1600+jpeg:70`` is
    ``whatsapp``. WhatsApp, Telegram and Signal take settings, ``whatsapp:quality=80,side=1280``. Any number may be a
    range, ``whatsapp:quality=60..92``: then it is drawn for each image, as all of ``camera`` is. A step of your own is
    named by its path, ``mychannels.viber`` or ``mychannels.Viber(quality=50)``: a function (H, W) uint8 -> bytes, or a
    class whose objects are called so; one with an argument ``seed`` is random.

    Args:
        name: As above.
        key: The setting that named it, for the message.
        seed: Which draw of a random channel.

    Raises:
        UserError: There is no such channel, or its number is out of range.

    Example:
        >>> film = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
        >>> get_channel("resize:1600+jpeg:70")(film) == get_channel("whatsapp")(film)
        True
        >>> lossy = get_channel("whatsapp:quality=5..95")
        >>> len({lossy.draw(seed)(film) for seed in range(20)}) > 1, lossy(film) == lossy(film)
        (True, True)
        >>> get_channel("whatsap")
        Traceback (most recent call last):
        experiments.errors.UserError: data.pairs.channel: no channel 'whatsap'; did you mean 'whatsapp'?
    """
    if not all(split_chain(name)):
        raise UserError(f"{key}: '{name}' has an empty step; write a channel on either side of each +")
    steps = tuple(_parse_step(step, key) for step in split_chain(name))
    if any(step.is_random for step in steps):
        return RandomChannel(steps, seed)

    # nothing to draw
    channels = tuple(partial(step.function, **step.options) if step.options else step.function for step in steps)
    return channels[0] if len(channels) == 1 else partial(send_through, channels=channels)


def channel_numbers(name: str) -> str:
    """Return the numbers that a channel's apps use, also those that its name leaves out; empty where it has none.

    Args:
        name: As :func:`get_channel` takes it.

    Example:
        >>> channel_numbers("whatsapp"), channel_numbers("whatsapp:quality=60..92"), channel_numbers("jpeg:70")
        ('side 1600, quality 70', 'side 1600, quality 60..92', '')
        >>> channel_numbers("signal+whatsapp:side=800")
        'quality 70; side 800, quality 70'
    """
    said = []
    for step in split_chain(name):
        settings = _SETTABLE.get(step.partition(":")[0], ())
        if settings:
            parsed = _parse_step(step, "channel")
            defaults = inspect.signature(parsed.function).parameters
            numbers = {name: parsed.options.get(name, defaults[name].default) for name in sorted(settings)[::-1]}
            said.append(", ".join(f"{name} {number}" for name, number in numbers.items()))
    return "; ".join(said)


@dataclass(frozen=True)
class OwnChannel:
    """A channel of the user's own, whose answers are looked at.

    Attributes:
        function: (H, W) uint8 -> the received file.
        name: As the setting says.
    """

    function: Callable[..., object]
    name: str

    @property
    def is_seeded(self) -> bool:
        """Whether it draws numbers by a ``seed``."""
        return "seed" in inspect.signature(self.function).parameters

    def __call__(self, image: np.ndarray, **options: int) -> bytes:
        """Return the received file.

        Raises:
            UserError: It fails, or gives something else.
        """
        try:
            received = self.function(image, **options)
        except Exception as error:
            raise UserError(f"channel {self.name}: it fails{place_of(error)}: {error}") from error
        if not isinstance(received, bytes):
            raise UserError(
                f"channel {self.name}: gives a {type(received).__name__}; a channel gives the received file's bytes"
            )
        return received


def _parse_step(step: str, key: str) -> Step:
    choice = Choice.parse(step, key)
    name, colon, settings = (choice.name, "", "") if choice.is_class else step.partition(":")

    # of the user's own, or another package's
    if choice.is_class or (choice.name in CHANNELS and choice.arguments):
        function = OwnChannel(choose_function("channels", step, key), step)
        return Step(function, seeded=function.is_seeded)

    # an app or a screen
    if name in CHANNELS:
        function, allowed = choose_function("channels", name, key), _SETTABLE.get(name, ())
        if colon and not allowed:
            raise UserError(
                f"{key}: {name} has no settings, but got '{step}'; write {name}, or a chain such as jpeg:70"
            )
        options = _parse_settings(settings, step, key, allowed) if colon else {}
        return Step(function, options, seeded="seed" in inspect.signature(function).parameters)

    # a route that was measured
    if name == "fitted":
        return Step(partial(send_fitted, route=read_route(settings, key)), seeded=True)

    # a plain step and its number
    if name == "resize":
        return Step(shrink, {"side": _parse_number(settings, step, key, "a longest side in pixels", MIN_SIDE)})
    if name == "webp":
        return Step(webp, {"quality": _parse_number(settings, step, key, "a quality", 1, 100)})
    if name == "jpeg":
        quality, colon, subsampling = settings.partition(":")
        if colon and subsampling not in SUBSAMPLINGS:
            known = ", ".join(SUBSAMPLINGS)
            raise UserError(f"{key}: '{step}': no subsampling '{subsampling}'; known: {known}, e.g. jpeg:70:4:2:0")
        number = _parse_number(quality, step, key, "a quality", 1, 100)
        return Step(jpeg, {"quality": number, "subsampling": subsampling or "4:2:0"})

    raise UserError(f"{key}: no channel '{name}'{nearest(name, [*CHANNELS, 'resize', 'jpeg', 'webp', 'fitted'])}")


def _parse_settings(text: str, step: str, key: str, allowed: tuple[str, ...]) -> dict[str, int | str | Range]:
    """Return an app's settings: ``quality=60..92,side=1280``."""
    options: dict[str, int | str | Range] = {}
    for part in text.split(","):
        name, equals, number = part.partition("=")
        if name not in allowed or not equals or name in options:
            app = step.partition(":")[0]
            raise UserError(
                f"{key}: '{step}': {app} takes {' and '.join(allowed)}, each once, as in {app}:quality=60..92"
            )
        low, high = _SETTINGS[name]
        options[name] = _parse_number(number, step, key, f"for {name}", low, high)
    return options


def _parse_number(text: str, step: str, key: str, what: str, low: int, high: int | None = None) -> int | Range:
    """Return a whole number, or a range as ``60..92`` says it."""
    first, dots, last = text.partition("..")
    ends = [int(end) if end.isascii() and end.isdecimal() else -1 for end in ([first, last] if dots else [first])]
    if any(end < low or (high is not None and end > high) for end in ends) or ends[0] > ends[-1]:
        allowed = f"from {low} to {high}" if high is not None else f"of at least {low}"
        name = step.partition(":")[0]
        example = 70 if high else 1600
        raise UserError(
            f"{key}: '{step}': {name} needs {what}, a whole number {allowed}, as in {name}:{example}, or a range of "
            "them, as in 60..92"
        )
    return Range(*ends) if dots else ends[0]
