"""How a received image lies on its original: turned, mirrored, cropped, brighter."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

_SIDE = 128  # of the thumbnails that are compared
_TURNS = ("", "turned by 90", "turned by 180", "turned by 270")
_MOVED = 0.01  # of a side, of a scale: less is a rounding
_ALIKE = 0.85  # correlation from which on the images are of one film


class Movement(NamedTuple):
    """What happened to an image besides its compression.

    Attributes:
        turn: ``turned by 90`` (anticlockwise) ..., ``mirrored`` with or without; "" for none.
        crop: Share of the original's area that is missing, 0 to 1.
        angle: Degrees by which it is tilted.
        shift: Mean grey level of the received image minus that of what it shows of the original.
        alike: Correlation of the two after all this, -1 to 1; a low one means another film.
    """

    turn: str
    crop: float
    angle: float
    shift: float
    alike: float

    def describe(self) -> str:
        """Return what is worth saying; "" where nothing has moved.

        Example:
            >>> Movement("turned by 90", 0.1, 0.0, 0.2, 0.99).describe()
            'turned by 90, 10 % cropped'
            >>> Movement("", 0.0, 0.0, 0.2, 0.1).describe()
            'another image (correlation 0.10)'
        """
        if self.alike < _ALIKE:
            return f"another image (correlation {self.alike:.2f})"
        parts = [self.turn] if self.turn else []
        parts += [f"{self.crop:.0%} cropped".replace("%", " %")] if self.crop > 2 * _MOVED else []
        parts += [f"tilted by {self.angle:.1f} degrees"] if abs(self.angle) > 0.5 else []
        return ", ".join(parts)


def measure_movement(original: np.ndarray, received: np.ndarray) -> Movement:
    """Return how a received image lies on its original.

    The eight turns and mirror images are tried; the best is aligned by an affine map (ECC).

    Args:
        original: (H, W) uint8.
        received: (h, w) uint8.

    Example:
        >>> film = (np.add.outer(np.arange(90), 2 * np.arange(60)) % 251).astype(np.uint8)
        >>> film[20:40, 10:20] = 255
        >>> movement = measure_movement(film, np.rot90(film))
        >>> movement.turn, round(movement.crop, 2), round(movement.shift, 1)
        ('turned by 90', 0.0, 0.0)
    """
    whole, sent = _thumbnail(original), _thumbnail(received)
    turns = {
        f"{'mirrored ' * mirrored}{_TURNS[quarter]}".strip(): np.rot90(whole[:, ::-1] if mirrored else whole, quarter)
        for mirrored in (False, True)
        for quarter in range(4)
    }
    turn = max(turns, key=lambda name: _correlate(turns[name], sent))
    turned = np.ascontiguousarray(turns[turn])

    # where a pixel of the received image lies on the turned original
    try:
        warp = np.eye(2, 3, dtype=np.float32)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        _, warp = cv2.findTransformECC(sent, turned, warp, cv2.MOTION_AFFINE, criteria, np.ones_like(sent, np.uint8), 5)
    except cv2.error:  # it does not converge on images without contents, or of two films
        warp = np.eye(2, 3, dtype=np.float32)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    shown = cv2.warpAffine(turned, warp, (_SIDE, _SIDE), flags=flags)
    inside = cv2.warpAffine(np.ones_like(turned), warp, (_SIDE, _SIDE), flags=flags) > 0.99

    # the map in pixels, without the thumbnails' proportions
    height, width = original.shape[::-1] if turn.endswith(("90", "270")) else original.shape
    pixels = np.diag([width, height]) @ warp[:, :2] @ np.diag([1 / received.shape[1], 1 / received.shape[0]])
    left, _, right = np.linalg.svd(pixels)
    rotation = left @ right
    area = abs(float(np.linalg.det(warp[:, :2])))
    return Movement(
        turn=turn,
        crop=max(0.0, 1 - area),
        angle=float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))),
        shift=float((sent - shown)[inside].mean()) if inside.any() else 0.0,
        alike=_correlate(shown[inside], sent[inside]) if inside.any() else 0.0,
    )


def _thumbnail(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def _correlate(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first.ravel() - first.mean(), second.ravel() - second.mean()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale else 0.0
