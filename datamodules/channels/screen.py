"""Channels that go over a screen: a screenshot of an X-ray, and a photo of a monitor that shows it.

Both are approximations: no phone, viewer or monitor is modelled.
"""

from __future__ import annotations

import cv2
import numpy as np

from datamodules.channels.chance import content_generator

PHONE = (1080, 1920)  # width and height of the part of the screen that shows a picture
MONITOR = 1440  # panel pixels of the X-ray's longer side on the monitor
FILL = 0.9  # share of the photo that the X-ray takes, of either side
GAMMA = 2.2


def screenshot(image: np.ndarray) -> bytes:
    """Take a screenshot of a picture that fills a phone's screen, cropped to the picture: a PNG.

    Scaled down or up to fit 1080 x 1920 px as Android's viewers do: halved by block means while it is at least twice
    too large, then plain bilinear (so with slight aliasing).

    Args:
        image: (H, W) uint8.

    Example:
        >>> from datamodules.images.decode import decode
        >>> decode(screenshot(np.full((3000, 1000), 77, np.uint8))).shape
        (1920, 640)
    """
    height, width = image.shape
    scale = min(PHONE[0] / width, PHONE[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    halvings = max(0, int(np.log2(1 / scale)))
    if halvings:
        image = cv2.resize(image, (width >> halvings or 1, height >> halvings or 1), interpolation=cv2.INTER_AREA)
    return _encode(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), ".png")


def camera(image: np.ndarray, seed: int = 0) -> bytes:
    """Take a phone's photo of a monitor that shows the image: a JPEG.

    It has perspective, moire, glare, vignetting, another gamma, blur and noise, all drawn from a generator that is
    seeded by the image's content and ``seed``. The moire is not painted on: the camera samples the monitor's pixel grid
    at nearly its own pitch, so that the grid aliases. To send the photo on, chain it: ``camera+whatsapp``. The X-ray
    lies elsewhere in the photo than in the image, so that its lung mask does not fit the photo: good for PI, not for
    the OLS of received images.

    Args:
        image: (H, W) uint8.
        seed: Another one is another photo.

    Example:
        >>> film = np.tile(np.arange(256, dtype=np.uint8), (200, 1))
        >>> camera(film) == camera(film)
        True
        >>> camera(film) == camera(255 - film)
        False
    """
    rng = content_generator(image, seed)
    height, width = image.shape

    # where the X-ray lies in the photo
    panel = MONITOR / max(height, width)  # panel pixels an image pixel
    pitch = rng.choice((-1, 1)) * rng.uniform(0.02, 0.05) + 1  # camera pixels a panel pixel
    frame = tuple(max(8, round(side * panel * pitch / FILL)) for side in (width, height))
    to_photo = _view(rng, (width, height), frame)

    # the light that the monitor sends out, seen from there
    kernel = cv2.INTER_AREA if panel < 1 else cv2.INTER_LINEAR
    monitor_size = max(1, round(width * panel)), max(1, round(height * panel))
    monitor = cv2.resize((image / np.float32(255)) ** GAMMA, monitor_size, interpolation=kernel)
    panel_to_photo = to_photo @ np.diag((width / monitor_size[0], height / monitor_size[1], 1))
    light = cv2.warpPerspective(monitor, panel_to_photo, frame, flags=cv2.INTER_LINEAR, borderValue=(0.01,))
    light *= _pixel_grid(panel_to_photo, frame, contrast=rng.uniform(0.04, 0.1))

    # vignetting, the room's reflection in the glass, and blur
    x, y = np.meshgrid(np.linspace(-1, 1, frame[0], dtype=np.float32), np.linspace(-1, 1, frame[1], dtype=np.float32))
    light *= 1 - rng.uniform(0.05, 0.15) * (x**2 + y**2)
    angle = rng.uniform(0, 2 * np.pi)
    light += rng.uniform(0.005, 0.02) * (1.5 + np.cos(angle) * x + np.sin(angle) * y)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.5, 0.9))

    # auto exposure, noise and the camera's gamma
    light = light * (0.9 / max(float(np.percentile(light, 99.5)), 0.05))
    photons = light + rng.standard_normal(light.shape, np.float32) * np.sqrt(4e-4 * light.clip(0) + 4e-6)
    photo = photons.clip(0, 1) ** (rng.uniform(0.9, 1.1) / GAMMA)
    return _encode((photo * 255).round().astype(np.uint8), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 92)


def _view(rng: np.random.Generator, size: tuple[int, int], frame: tuple[int, ...]) -> np.ndarray:
    """Draw the homography of image to photo pixels: the image's corners, each a little off a centred rectangle."""
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    margin = (1 - FILL) / 2
    corners = (margin + unit * FILL + rng.uniform(-0.6, 0.6, (4, 2)) * margin) * frame
    return cv2.getPerspectiveTransform(unit * np.array(size, np.float32), corners.astype(np.float32))


def _pixel_grid(to_photo: np.ndarray, frame: tuple[int, ...], contrast: float) -> np.ndarray:
    """Return how the dark lines between the panel's pixels dim each pixel of the photo, (H, W) float32 about 1."""
    back = np.linalg.inv(to_photo)
    x, y = np.meshgrid(np.arange(frame[0]), np.arange(frame[1]))
    w = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    u = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / w
    v = (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / w
    return (1 + contrast * (np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v)) / 2).astype(np.float32)


def _encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()
