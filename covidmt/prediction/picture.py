"""The picture of one prediction: the X-ray as it is, the same with what the answer rests on, and the report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from covidmt.prediction.answer import NOTICE, Prediction
from experiments.schema import Robustness, Target
from explain.cam import engine_title
from explain.picture import ALARM, GAP, INK, LUNG, MUTED, PAPER, REGION, blend, font, overlay, shorten

PANEL, HIGHEST = 520, 680  # pixels: width of an X-ray's place, and height that none exceeds
WIDTH = 3 * GAP + 2 * PANEL
ROOM = WIDTH - 2 * GAP
LINE = 24
BAND = (255, 240, 205)


def draw_prediction(
    prediction: Prediction,
    image: np.ndarray,
    heat: np.ndarray,
    region: np.ndarray,
    lung: np.ndarray,
    *,
    settings: Robustness,
) -> np.ndarray:
    """Both X-rays in the image's own proportions, the report below.

    Args:
        prediction: What is said.
        image: (H, W) uint8 at its full size.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool, the heat-map region.
        lung: (S, S) bool, all False where no lungs were found or looked for.
        settings: How the heat map was made.

    Returns:
        (height, WIDTH, 3) uint8 RGB.
    """
    scale = min(PANEL / image.shape[1], HIGHEST / image.shape[0])
    width, height = (max(round(side * scale), 1) for side in image.shape[::-1])
    lines = [
        (line, ALARM if sentence.warning else INK, font(16, bold=bool(sentence.warning)))
        for sentence in prediction.sentences()
        for line in _wrap(sentence.text, font(16, bold=bool(sentence.warning)))
    ]
    notice = _wrap(NOTICE, font(16, bold=True))
    top, bottom = 52, 52 + height
    canvas = Image.new("RGB", (WIDTH, bottom + 48 + LINE * (len(lines) + len(notice)) + 3 * GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    title = shorten(Path(prediction.image).name, font(18, bold=True), ROOM)  # a picture is passed on: no folders
    pen.text((GAP, 14), title, INK, font(18, bold=True))
    plain = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    shown = overlay(image, heat, region, lung, (width, height))
    for number, panel in enumerate((plain, shown)):
        left = GAP + number * (PANEL + GAP) + (PANEL - width) // 2
        canvas.paste(Image.fromarray(panel), (left, top))
    _legend(canvas, pen, bottom + 12, prediction, settings)
    y = bottom + 48
    for line, ink, typeface in lines:
        pen.text((GAP, y), line, ink, typeface)
        y += LINE
    y += GAP
    pen.rectangle((0, y, WIDTH, canvas.height), fill=BAND)
    pen.multiline_text((GAP, y + 12), "\n".join(notice), INK, font(16, bold=True), spacing=5)
    return np.asarray(canvas)


def _legend(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, y: int, prediction: Prediction, settings: Robustness
) -> None:
    """What the right X-ray's colours and lines are."""
    lungs = {0: "lungs: none found", None: "lungs: not looked for"}.get(
        prediction.lung_share, "lungs, found by software"
    )
    ramp = np.linspace(0, 1, 60, dtype=np.float32)[None].repeat(17, axis=0)
    canvas.paste(Image.fromarray(blend(np.full(ramp.shape, 110, np.uint8), ramp)), (GAP, y))
    why = "the answer" if settings.target is Target.decision else prediction.decision.label
    title = f"heat map: evidence for {why} ({engine_title(settings.engine)})"
    pen.text((GAP + 68, y), shorten(title, font(14), 430), MUTED, font(14))
    for left, colour, text in ((540, REGION, "its hottest region"), (760, LUNG, lungs)):
        pen.rectangle((left, y, left + 30, y + 17), fill=(70, 70, 70))
        pen.line((left + 5, y + 8, left + 25, y + 8), colour, 3)
        pen.text((left + 38, y), text, MUTED, font(14))


def _wrap(text: str, typeface: ImageFont.FreeTypeFont) -> list[str]:
    """Lines of whole words, none wider than the picture; a word that is cut short."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if typeface.getlength(longer) <= ROOM:
            lines[-1] = longer
        else:
            lines.append(shorten(word, typeface, ROOM))
    return [line for line in lines if line]
