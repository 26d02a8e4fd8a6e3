"""What the phone does to an image: WhatsApp, Telegram, Signal and MMS, simulated.

Each function maps the grey image at its full size, (H, W) uint8, to the bytes of the file that is received.
"""

from __future__ import annotations

import numpy as np

from datamodules.channels.encodings import fit_inside, jpeg

WHATSAPP_SIDE = 1600
WHATSAPP_QUALITY = 70
WHATSAPP_WEB_QUALITY = 92


def whatsapp(image: np.ndarray, quality: int = WHATSAPP_QUALITY, side: int = WHATSAPP_SIDE) -> bytes:
    """Send a photo through WhatsApp: fit inside 1600 px, baseline JPEG of quality 70.

    4:2:0 chroma subsampling, the standard Huffman tables, three channels as a phone writes them. On 1,000 NIH images
    the mean file has 53.2 KB; the 6,562 files of WaCXR have 53.5 KB.

    Args:
        image: (H, W) uint8 grey image at its full size.
        quality: Of the JPEG; the app's web client writes 92.
        side: The longest, in pixels.

    Returns:
        The bytes of the JPEG file; a larger image is scaled down with antialiasing, none is ever scaled up.

    Example:
        >>> from datamodules.images.decode import decode
        >>> film = np.random.default_rng(0).integers(0, 256, (1700, 3200), np.uint8)
        >>> decode(whatsapp(film)).shape
        (850, 1600)
    """
    return jpeg(fit_inside(image, side, side), quality)


def whatsapp_hd(image: np.ndarray, quality: int = WHATSAPP_QUALITY, side: int = 4096) -> bytes:
    """Send a photo in WhatsApp's "HD quality": fit inside 4096 px.

    This is the size that its beta showed in 2023 (4096 x 2692, WABetaInfo). An approximation: the quality is not
    published, and assumed to be that of the standard size.
    """
    return jpeg(fit_inside(image, side, side), quality)


def whatsapp_web(image: np.ndarray, quality: int = WHATSAPP_WEB_QUALITY, side: int = WHATSAPP_SIDE) -> bytes:
    """Send a photo through WhatsApp's web client: fit inside 1600 px, JPEG quality 92, 4:2:0.

    Of 20 received chest X-rays of CheXwhatsApp's repository the quantisation could be estimated in 19, and was that of
    quality 92 in all of them; the longest side was 1600 px in 8 and 1554 to 1579 px in 12; they have about 400 KB.
    PI under this route is not PI under the phone's (:func:`whatsapp`).

    Example:
        >>> from datamodules.images.decode import decode
        >>> film = np.random.default_rng(0).integers(0, 256, (1700, 3200), np.uint8)
        >>> decode(whatsapp_web(film)).shape, len(whatsapp_web(film)) > 1.5 * len(whatsapp(film))
        ((850, 1600), True)
    """
    return jpeg(fit_inside(image, side, side), quality)


def telegram(image: np.ndarray, quality: int = 80, side: int = 1280) -> bytes:
    """Send a "photo" (not a "file") through Telegram: fit inside 1280 px, JPEG quality 80.

    Source: Telegram for Android, ``SendMessagesHelper.generatePhotoSizes`` and ``AndroidUtilities.getPhotoSize``. Newer
    versions write a progressive file, which holds the same pixels in fewer bytes; other clients differ.
    """
    return jpeg(fit_inside(image, side, side), quality)


def signal(image: np.ndarray, quality: int = 70) -> bytes:
    """Send a photo through Signal in its standard quality.

    JPEG of quality 70, of the largest of 1600, 1024, 768 and 512 px that gives at most 1 MiB. Source: Signal for
    Android, ``PushMediaConstraints.MediaConfig.LEVEL_1``.
    """
    for side in (1600, 1024, 768, 512):
        file = jpeg(fit_inside(image, side, side), quality)
        if len(file) <= 1024 * 1024:
            break
    return file


def mms(image: np.ndarray) -> bytes:
    """Send a photo as MMS: fit inside 640 x 480 px (either way round), at most 300 KiB.

    Source of the two limits: Android Open Source Project, Messaging, ``res/xml/mms_config.xml``; carriers set others.
    The quality (95, lowered in steps down to 50 until the file fits) is an approximation.
    """
    height, width = image.shape
    picture = fit_inside(image, 640, 480) if width >= height else fit_inside(image, 480, 640)
    for quality in (95, 80, 68, 58, 50):
        file = jpeg(picture, quality)
        if len(file) <= 300 * 1024:
            break
    return file
