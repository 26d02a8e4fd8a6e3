"""The picture of an image pair's boxes: what was found on the original, what on the received image, what is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from explain.picture import ALARM, GAP, INK, LUNG, MUTED, PAPER, XRAY, draw_key, font, resize_grey, shorten

TITLES, LEGEND = 76, 66  # pixels above and below the X-rays
WIDTH, HEIGHT = 3 * GAP + 2 * XRAY, TITLES + XRAY + LEGEND
ScoredBox = Sequence[float]  # left, top, right, bottom as shares of the image's width and height; score in [0, 1]


class BoxSide(NamedTuple):
    """One image of the pair.

    Attributes:
        image: (S, S) uint8.
        boxes: The predicted boxes whose score suffices.
        is_found: A true box is among what they overlap.
    """

    image: np.ndarray
    boxes: Sequence[ScoredBox]
    is_found: bool


def draw_box_pair(
    original: BoxSide, received: BoxSide, truths: Sequence[ScoredBox], *, task: str, caption: str, iou: float
) -> np.ndarray:
    """Draw both images side by side with the predicted boxes and the true ones.

    Args:
        original: The left side.
        received: The right side.
        truths: The true boxes, without scores; drawn on both.
        task: Whose boxes these are.
        caption: Text below the images; the image's name.
        iou: The overlap from which a true box counts as found.

    Returns:
        (HEIGHT, WIDTH, 3) uint8 RGB.

    Example:
        >>> image = np.zeros((8, 8), np.uint8)
        >>> sides = BoxSide(image, [(0.1, 0.1, 0.6, 0.6, 0.9)], True), BoxSide(image, [], False)
        >>> draw_box_pair(*sides, [(0.1, 0.1, 0.5, 0.6)], task="boxes", caption="a.png", iou=0.5).shape
        (574, 912, 3)
    """
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, 10), shorten(task, font(18, bold=True), WIDTH / 2), INK, font(18, bold=True))
    if original.is_found != received.is_found:
        word = "lost on the way" if original.is_found else "found only after the way"
        pen.text((WIDTH - GAP, 10), word, ALARM, font(18, bold=True), anchor="ra")

    # both sides
    for number, (side, name) in enumerate(((original, "Original"), (received, "Received"))):
        left = GAP + number * (XRAY + GAP)
        boxes = f"{len(side.boxes)} box{'' if len(side.boxes) == 1 else 'es'}"
        answer = f"{name}: {'found' if side.is_found else 'not found'}"
        pen.text((left, 44), answer, INK if side.is_found else ALARM, font(16, bold=True))
        pen.text((left + XRAY, 44), boxes, INK, font(16), anchor="ra")
        canvas.paste(Image.fromarray(outline_boxes(side.image, side.boxes, (XRAY, XRAY), truths)), (left, TITLES))

    # legend and caption
    top = TITLES + XRAY + 10
    draw_key(pen, GAP, top, ALARM, "predicted, with its score")
    draw_key(pen, 320, top, LUNG, f"true; found: IoU of {iou:g} or more")
    pen.text((GAP, top + 27), shorten(caption, font(15), WIDTH - 2 * GAP), MUTED, font(15))
    return np.asarray(canvas)


def outline_boxes(
    image: np.ndarray, boxes: Sequence[ScoredBox], size: tuple[int, int], truths: Sequence[ScoredBox] = ()
) -> np.ndarray:
    """Draw boxes with their scores on an image, the true ones below them.

    Args:
        image: (H, W) uint8: what the boxes' corners are shares of.
        boxes: Predicted boxes.
        size: Width and height of the result.
        truths: True boxes.

    Returns:
        (height, width, 3) uint8 RGB.

    Example:
        >>> outline_boxes(np.zeros((8, 8), np.uint8), [(0.1, 0.1, 0.6, 0.6, 0.9)], (64, 48)).shape
        (48, 64, 3)
    """
    canvas = Image.fromarray(resize_grey(image, size)).convert("RGB")
    pen = ImageDraw.Draw(canvas)

    def outline(box: ScoredBox, colour: tuple[int, int, int], edge: tuple[int, int, int]) -> tuple[float, float]:
        left, top = box[0] * size[0], box[1] * size[1]
        corners = (left, top, max(box[2] * size[0], left), max(box[3] * size[1], top))
        pen.rectangle(corners, outline=edge, width=5)
        pen.rectangle(corners, outline=colour, width=3)
        return left, top

    for box in truths:
        outline(box, LUNG, INK)
    places = [outline(box, ALARM, PAPER) for box in boxes]

    # scores inside the boxes' upper left corners, above all lines, and never outside of the image
    typeface = font(14, bold=True)
    for (left, top), box in zip(places, boxes, strict=True):
        place = (min(max(left + 6, 2), size[0] - 40), min(max(top + 5, 2), size[1] - 20))
        pen.text(place, f"{box[4]:.2f}", PAPER, typeface, stroke_width=2, stroke_fill=ALARM)
    return np.asarray(canvas)
