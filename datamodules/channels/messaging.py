"""Simulated channels: what a messaging app makes of an X-ray on its way.

A channel is a function ``uint8 (H, W) -> bytes``: the grey image at its full size to the file that is received. It is
deterministic, and what :func:`datamodules.images.decode.decode` makes of the file is the received image.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from datamodules.channels.screen import camera, screenshot
from datamodules.images.decode import decode
from experiments.errors import UserError, nearest

Channel = Callable[[np.ndarray], bytes]

WHATSAPP_SIDE = 1600
WHATSAPP_QUALITY = 70
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
MIN_SIDE = 16


def whatsapp(image: np.ndarray) -> bytes:
    """What WhatsApp makes of a photo: fit inside 1600 px, baseline JPEG of quality 70.

    4:2:0 chroma subsampling, the standard Huffman tables, three channels as a phone writes them. On 1,000 NIH images
    the mean file has 53.2 KB; the 6,562 files of WaCXR have 53.5 KB.

    Args:
        image: (H, W) uint8 grey image at its full size.

    Returns:
        The bytes of the JPEG file; a larger image is scaled down with antialiasing, none is ever scaled up.
    """
    return _jpeg(_fit(image, WHATSAPP_SIDE, WHATSAPP_SIDE), WHATSAPP_QUALITY)


def whatsapp_hd(image: np.ndarray) -> bytes:
    """WhatsApp's "HD quality": fit inside 4096 px, which is what its beta showed in 2023 (4096 x 2692, WABetaInfo).

    An approximation: the quality is not published, and taken to be that of the standard size.
    """
    return _jpeg(_fit(image, 4096, 4096), WHATSAPP_QUALITY)


def telegram(image: np.ndarray) -> bytes:
    """Telegram's "photo" (not "file"): fit inside 1280 px, JPEG quality 80.

    Source: Telegram for Android, ``SendMessagesHelper.generatePhotoSizes`` and ``AndroidUtilities.getPhotoSize``. Newer
    versions write a progressive file, which holds the same pixels in fewer bytes; other clients differ.
    """
    return _jpeg(_fit(image, 1280, 1280), 80)


def signal(image: np.ndarray) -> bytes:
    """Signal's standard media quality: JPEG quality 70, the largest of 1600, 1024, 768, 512 px that has at most 1 MiB.

    Source: Signal for Android, ``PushMediaConstraints.MediaConfig.LEVEL_1``.
    """
    for side in (1600, 1024, 768, 512):
        file = _jpeg(_fit(image, side, side), 70)
        if len(file) <= 1024 * 1024:
            break
    return file


def mms(image: np.ndarray) -> bytes:
    """MMS: fit inside 640 x 480 px (either way round), at most 300 KiB.

    Source of the two limits: Android Open Source Project, Messaging, ``res/xml/mms_config.xml``; carriers set others.
    The quality (95, lowered in steps down to 50 until the file fits) is an approximation.
    """
    height, width = image.shape
    picture = _fit(image, 640, 480) if width >= height else _fit(image, 480, 640)
    for quality in (95, 80, 68, 58, 50):
        file = _jpeg(picture, quality)
        if len(file) <= 300 * 1024:
            break
    return file


CHANNELS: dict[str, Channel] = {
    channel.__name__: channel for channel in (whatsapp, whatsapp_hd, telegram, signal, mms, screenshot, camera)
}


def resize(image: np.ndarray, side: int) -> bytes:
    """Fit inside ``side`` px with antialiasing, never scaled up; a PNG."""
    return _save(_fit(image, side, side), "PNG", compress_level=1)


def jpeg(image: np.ndarray, quality: int, subsampling: str = "4:2:0") -> bytes:
    """Baseline JPEG of that quality (1-100), with the standard tables, at the image's own size."""
    return _jpeg(Image.fromarray(image), quality, subsampling)


def webp(image: np.ndarray, quality: int) -> bytes:
    """Lossy WebP of that quality (1-100) at the image's own size."""
    return _save(Image.fromarray(image).convert("RGB"), "WEBP", quality=quality, method=4)


def forward(image: np.ndarray, channels: tuple[Channel, ...]) -> bytes:
    """Several channels in a row, each getting what the one before delivered."""
    for channel in channels[:-1]:
        image = decode(channel(image))
    return channels[-1](image)


def get_channel(name: str, key: str = "data.pairs.channel") -> Channel:
    """The channel of that name.

    The name is one step or several joined by ``+`` (``whatsapp+whatsapp``: forwarded twice). A step is a name of
    :data:`CHANNELS`, or one of ``resize:SIDE``, ``jpeg:QUALITY``, ``jpeg:QUALITY:4:2:0`` (or ``4:2:2``, ``4:4:4``) and
    ``webp:QUALITY``; so ``resize:1600+jpeg:70`` is ``whatsapp``.

    Args:
        name: As above.
        key: The setting that named it, for the message.

    Raises:
        UserError: There is no such channel, or its number is out of range.
    """
    if not all(step.strip() for step in name.split("+")):
        raise UserError(f"{key}: '{name}' has an empty step; write a channel on either side of each +")
    steps = tuple(_step(step.strip(), key) for step in name.split("+"))
    return steps[0] if len(steps) == 1 else partial(forward, channels=steps)


def _step(step: str, key: str) -> Channel:
    name, colon, settings = step.partition(":")
    if name in CHANNELS:
        if colon:
            raise UserError(
                f"{key}: {name} has no settings, but got '{step}'; write {name}, or a chain such as jpeg:70"
            )
        return CHANNELS[name]
    if name == "resize":
        return partial(resize, side=_whole(settings, step, key, "a longest side in pixels", MIN_SIDE))
    if name == "webp":
        return partial(webp, quality=_whole(settings, step, key, "a quality", 1, 100))
    if name == "jpeg":
        quality, colon, subsampling = settings.partition(":")
        if colon and subsampling not in SUBSAMPLINGS:
            known = ", ".join(SUBSAMPLINGS)
            raise UserError(f"{key}: '{step}': no subsampling '{subsampling}'; known: {known}, e.g. jpeg:70:4:2:0")
        number = _whole(quality, step, key, "a quality", 1, 100)
        return partial(jpeg, quality=number, subsampling=subsampling or "4:2:0")
    raise UserError(f"{key}: no channel '{name}'{nearest(name, [*CHANNELS, 'resize', 'jpeg', 'webp'])}")


def _whole(text: str, step: str, key: str, what: str, low: int, high: int | None = None) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else None
    if number is None or number < low or (high is not None and number > high):
        allowed = f"from {low} to {high}" if high is not None else f"of at least {low}"
        name = step.partition(":")[0]
        example = 70 if high else 1600
        raise UserError(f"{key}: '{step}': {name} needs {what}, a whole number {allowed}, as in {name}:{example}")
    return number


def _fit(image: np.ndarray, width: int, height: int) -> Image.Image:
    """As :meth:`PIL.Image.Image.thumbnail`: never scaled up."""
    picture = Image.fromarray(image).convert("RGB")
    picture.thumbnail((width, height), Image.Resampling.LANCZOS, reducing_gap=None)
    return picture


def _jpeg(picture: Image.Image, quality: int, subsampling: str = "4:2:0") -> bytes:
    rgb = picture.convert("RGB")  # phones write three channels, also of grey pictures
    return _save(rgb, "JPEG", quality=quality, subsampling=subsampling, optimize=False, progressive=False)


def _save(picture: Image.Image, encoding: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, encoding, **options)
    return file.getvalue()
