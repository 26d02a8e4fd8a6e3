"""Random channels: R of the COVIDMT paper's Eq. 1, "a random perturbation of the instance".

A person does not know through which version of an app an image came. A random channel draws its numbers anew for each
image, from a generator that the image's content and a seed determine: the same image is received in the same way again,
and another seed is another draw of the whole set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from datamodules.images.decode import decode

Channel = Callable[[np.ndarray], bytes]  # the grey image at its full size, (H, W) uint8, to the file that is received


class Range(NamedTuple):
    """Whole numbers from low to high, both included, each equally likely."""

    low: int
    high: int

    def __str__(self) -> str:
        """As a channel's name has it.

        Example:
            >>> str(Range(60, 92))
            '60..92'
        """
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Step:
    """One step of a channel.

    Attributes:
        function: Image and keyword arguments -> the received file.
        options: Keyword arguments; a :class:`Range` is drawn.
        seeded: The function takes a ``seed`` of its own draws.
    """

    function: Callable[..., bytes]
    options: Mapping[str, int | str | Range] = field(default_factory=dict)
    seeded: bool = False

    @property
    def is_random(self) -> bool:
        """Whether two draws may differ."""
        return self.seeded or any(isinstance(value, Range) for value in self.options.values())

    def drawn(self, rng: np.random.Generator, seed: int) -> Channel:
        """Return the step with its numbers drawn."""
        options = {
            name: int(rng.integers(value.low, value.high + 1)) if isinstance(value, Range) else value
            for name, value in self.options.items()
        }
        options |= {"seed": seed} if self.seeded else {}
        return partial(self.function, **options) if options else self.function


@dataclass(frozen=True)
class RandomChannel:
    """A channel whose numbers are drawn for each image.

    Attributes:
        steps: In a row; at least one is random.
        seed: Which draw.

    Example:
        >>> from datamodules.channels.phone_apps import whatsapp
        >>> channel = RandomChannel((Step(whatsapp, {"quality": Range(60, 92)}),))
        >>> film = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
        >>> channel(film) == channel(film), channel(film) == channel.draw(1)(film)
        (True, False)
    """

    steps: tuple[Step, ...]
    seed: int = 0

    def __call__(self, image: np.ndarray) -> bytes:
        """Return the received file of a grey image, (H, W) uint8."""
        rng = content_generator(image, self.seed)
        return send_through(image, tuple(step.drawn(rng, self.seed) for step in self.steps))

    def draw(self, seed: int) -> RandomChannel:
        """Return another draw of the channel."""
        return replace(self, seed=seed)


def draw_channel(channel: Channel, seed: int) -> Channel:
    """Return that draw of a random channel; any other channel as it is."""
    return channel.draw(seed) if isinstance(channel, RandomChannel) else channel


def send_through(image: np.ndarray, channels: tuple[Channel, ...]) -> bytes:
    """Send an image through several channels in a row; each gets what the one before delivered."""
    for channel in channels[:-1]:
        image = decode(channel(image))
    return channels[-1](image)


def content_generator(image: np.ndarray, seed: int = 0) -> np.random.Generator:
    """Return a generator that an image's content and a seed determine.

    Args:
        image: (H, W) uint8.
        seed: 0 or more.
    """
    content = hashlib.sha256(f"{image.shape}{seed or ''}".encode() + image.tobytes())
    return np.random.default_rng(int.from_bytes(content.digest()[:8], "big"))
