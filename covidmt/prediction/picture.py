"""The picture of one prediction: the X-ray as it is, the same with what the answer rests on, and the report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.predictor import ExplainedImage
from experiments.schema import Robustness
from explain.box_picture import outline_boxes
from explain.cam import engine_title
from explain.picture import (
    ALARM,
    GAP,
    INK,
    LUNG,
    MUTED,
    PAPER,
    REGION,
    cells_text,
    draw_key,
    draw_ramp,
    font,
    is_coarse,
    overlay,
    shorten,
)

XRAY, HIGHEST = 520, 680  # pixels: width of an X-ray's place, and height that none exceeds
WIDTH = 3 * GAP + 2 * XRAY
ROOM = WIDTH - 2 * GAP
TOP, LEGEND, LINE = 52, 64, 24  # heights of the title, of the legend, of a line of the report
BAND = (255, 240, 205)


def draw_prediction(explained: ExplainedImage, settings: Robustness) -> np.ndarray:
    """Draw both X-rays in the image's own proportions, the report below.

    Args:
        explained: The prediction, and what it rests on.
        settings: How the heat map was made.

    Returns:
        (height, WIDTH, 3) uint8 RGB.
    """
    prediction, image = explained.prediction, explained.grey
    scale = min(XRAY / image.shape[1], HIGHEST / image.shape[0])
    width, height = (max(round(side * scale), 1) for side in image.shape[::-1])

    # the report's lines decide how high the picture is
    lines = [
        (line, ALARM if sentence.warning else INK, font(16, bold=bool(sentence.warning)))
        for sentence in prediction.sentences()
        for line in wrap(sentence.text, font(16, bold=bool(sentence.warning)))
    ]
    notice = wrap(NOTICE, font(16, bold=True))
    boxes = explained.prediction.boxes
    bottom = TOP + height + (TOP + height) * bool(boxes)
    canvas = Image.new("RGB", (WIDTH, bottom + LEGEND + LINE * (len(lines) + len(notice)) + 3 * GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    title = shorten(Path(prediction.image).name, font(18, bold=True), ROOM)  # a picture is passed on: no folders
    pen.text((GAP, 14), title, INK, font(18, bold=True))

    # the X-ray, and the same with heat map and outlines
    plain = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    hot = overlay(image, explained.heat, explained.region, explained.lung, (width, height))
    for number, xray in enumerate((plain, hot)):
        left = GAP + number * (XRAY + GAP) + (XRAY - width) // 2
        canvas.paste(Image.fromarray(xray), (left, TOP))
    if boxes:
        _draw_boxes(canvas, TOP + height, plain, explained)
    _draw_legend(canvas, bottom + 12, explained, settings)

    # the report, and the notice in a band
    y = bottom + LEGEND
    for line, ink, typeface in lines:
        pen.text((GAP, y), line, ink, typeface)
        y += LINE
    y += GAP
    pen.rectangle((0, y, WIDTH, canvas.height), fill=BAND)
    pen.multiline_text((GAP, y + 12), "\n".join(notice), INK, font(16, bold=True), spacing=5)
    return np.asarray(canvas)


def _draw_boxes(canvas: Image.Image, top: int, plain: np.ndarray, explained: ExplainedImage) -> None:
    """Draw the boxes on the image, and beside it on what the first channel makes of it, with their scores."""
    size = plain.shape[1], plain.shape[0]
    pen, found = ImageDraw.Draw(canvas), explained.prediction.boxes
    channel = next(iter(explained.prediction.channels), None)
    sides = [("Boxes on the image", plain, [box for each in found for box in each.original])]
    if explained.received is not None and channel is not None:
        boxes = [box for each in found for box in each.channels[channel]]
        sides.append((f"Boxes after {channel}", explained.received, boxes))

    for number, (title, xray, boxes) in enumerate(sides):
        left = GAP + number * (XRAY + GAP) + (XRAY - size[0]) // 2
        canvas.paste(Image.fromarray(outline_boxes(xray, boxes, size)), (left, top + TOP))
        words = shorten(f"{title}: {len(boxes) or 'none'}", font(16, bold=True), XRAY)
        pen.text((GAP + number * (XRAY + GAP), top + 22), words, INK, font(16, bold=True))


def _draw_legend(canvas: Image.Image, top: int, explained: ExplainedImage, settings: Robustness) -> None:
    """Draw what the right X-ray's colours and lines are."""
    pen = ImageDraw.Draw(canvas)
    draw_ramp(canvas, GAP, top, np.linspace(0, 1, 60, dtype=np.float32)[None].repeat(17, axis=0))
    prediction, cells = explained.prediction, explained.cells
    why = f"{engine_title(settings.engine)}: evidence for {prediction.decision.explained(settings.target)}"
    pen.text((GAP + 68, top), shorten(why, font(14), 430), MUTED, font(14))
    pen.text((GAP + 68, top + 18), cells_text(cells), ALARM if is_coarse(cells) else MUTED, font(14))

    missing = {0: "lungs: none found", None: "lungs: not looked for"}
    draw_key(pen, 540, top, REGION, "its hottest region")
    draw_key(pen, 760, top, LUNG, missing.get(prediction.lung_share, "lungs, found by software"))


def wrap(text: str, typeface: ImageFont.FreeTypeFont) -> list[str]:
    """Return lines of whole words, none wider than the picture; a word that is wider is shortened.

    Example:
        >>> wrap("What the network  answers", font(16))
        ['What the network answers']
        >>> len(wrap("word " * 200, font(16))) > 1
        True
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if typeface.getlength(longer) <= ROOM:
            lines[-1] = longer
        else:
            lines.append(shorten(word, typeface, ROOM))
    return [line for line in lines if line]
