"""Boxes as data sets publish them: in the pixels of a frame, which copies of another size do not have any more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.errors import UserError

MIN_VISIBILITY = 0.25  # share of a box that must be left of it where an image is cut or moved


def read_frame(frame: list[int] | None, key: str) -> tuple[int, int] | None:
    """Return the frame as (width, height) in pixels; None: the boxes count the pixels of each image's own file.

    Raises:
        UserError: Not two numbers above 0.

    Example:
        >>> read_frame([1024, 1024], "data.sources.rsna")
        (1024, 1024)
    """
    if frame is None:
        return None
    if len(frame) != 2 or min(frame) < 1:
        raise UserError(f"{key}.frame: takes [width, height] in pixels or null, not {frame}")
    return frame[0], frame[1]


def outside(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return which boxes leave their image by more than 2 % of its side, a rounding apart.

    Args:
        boxes: (n, 4) xyxy in pixels of the image.
        width: Of the image, in pixels.
        height: Of the image, in pixels.

    Returns:
        (n,) bool.

    Example:
        >>> outside(np.array([[0.0, 0.0, 100.0, 50.0], [40.0, 10.0, 104.0, 20.0]]), width=100, height=50).tolist()
        [False, True]
    """
    corners, size = boxes.reshape(-1, 2, 2), np.array([width, height])
    return np.asarray(((corners < -0.02 * size - 1) | (corners > 1.02 * size + 1)).any(axis=(1, 2)))


def fits(frame: tuple[int, int], width: int, height: int) -> bool:
    """Return whether an image has the proportions of the frame, within 2 % and a pixel: then it is a scaled copy.

    Example:
        >>> fits((1024, 1024), 512, 512), fits((1024, 1024), 640, 512)
        (True, False)
    """
    return abs(width * frame[1] / frame[0] - height) <= 0.02 * height + 1


def merge_readers(boxes: np.ndarray, readers: Sequence[str], agreement: int, overlap: float = 0.5) -> np.ndarray:
    """Return one box, the mean, for the boxes by which several readers mean one place.

    Args:
        boxes: (n, 4) xyxy of one image and one finding.
        readers: Who drew each.
        agreement: At least so many readers must have drawn it.
        overlap: Intersection over union with the mean of those before, from which on it is the same place.

    Returns:
        (m, 4) float32.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60]])
        >>> merge_readers(boxes, ["R1", "R2", "R1"], agreement=2).tolist()
        [[0.0, 0.0, 10.0, 11.0]]
    """
    places: list[list[int]] = []
    for row, box in enumerate(boxes):
        for place in places:
            is_new_reader = readers[row] not in {readers[other] for other in place}
            if is_new_reader and _overlap(boxes[place].mean(axis=0), box) >= overlap:
                place.append(row)
                break
        else:
            places.append([row])
    merged = [boxes[place].mean(axis=0) for place in places if len(place) >= agreement]
    return np.array(merged, np.float32).reshape(-1, 4)


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = float(np.prod(sides.clip(0)))
    both = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]))
    return common / (both - common)


def refuse_outside(boxes: np.ndarray, frame: tuple[int, int] | None, path: Path, key: str) -> None:
    """Refuse a table with a box outside the frame.

    Args:
        boxes: (n, 4) xyxy, a row a line of the table; NaN where there is none.
        frame: (width, height); None: nothing is known yet.
        path: The table.
        key: The source's key, for the remedy.

    Raises:
        UserError: Naming the first line.
    """
    if frame is None:
        return
    wrong = outside(boxes, *frame)
    if wrong.any():
        row = int(wrong.argmax())
        box = ", ".join(f"{value:g}" for value in boxes[row])
        raise UserError(
            f"{path}, line {row + 2}: the box {box} lies outside of the {frame[0]}x{frame[1]} pixels of {key}.frame; "
            "correct the line, or set frame to the size that the boxes are drawn for"
        )
