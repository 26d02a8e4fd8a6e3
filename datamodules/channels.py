"""Simulated channels: what a messaging app makes of an X-ray on its way."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from experiments.errors import UserError
from experiments.load import nearest

WHATSAPP_SIDE = 1600
WHATSAPP_QUALITY = 70


def whatsapp(image: np.ndarray) -> bytes:
    """What WhatsApp makes of a photo: fit inside 1600 px, baseline JPEG of quality 70.

    4:2:0 chroma subsampling, the standard Huffman tables, three channels as a phone writes them. On 1,000 NIH images
    the mean file has 53.2 KB; the 6,562 files of WaCXR have 53.5 KB.

    Args:
        image: (H, W) uint8 grey image at its full size.

    Returns:
        The bytes of the JPEG file; a larger image is scaled down with antialiasing, none is ever scaled up.
    """
    picture = Image.fromarray(image).convert("RGB")
    picture.thumbnail((WHATSAPP_SIDE, WHATSAPP_SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=WHATSAPP_QUALITY, subsampling="4:2:0", optimize=False, progressive=False)
    return file.getvalue()


CHANNELS: dict[str, Callable[[np.ndarray], bytes]] = {"whatsapp": whatsapp}


def get_channel(name: str) -> Callable[[np.ndarray], bytes]:
    """The channel of that name.

    Raises:
        UserError: There is none.
    """
    if name not in CHANNELS:
        raise UserError(f"data.pairs.channel: no channel '{name}'{nearest(name, CHANNELS)}")
    return CHANNELS[name]
