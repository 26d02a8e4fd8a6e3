"""The picture of one image pair: what the network saw, said and looked at, before and after the phone."""

from __future__ import annotations

from functools import cache
from math import isnan
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.schema import Robustness, Target
from explain.cam import engine_title
from explain.decision import Decision

PANEL = 432  # pixels, both sides of each X-ray
GAP, TOP, BAR = 16, 98, 92  # margins; room for the titles; room for the colour scale
WIDTH, HEIGHT = 3 * GAP + 2 * PANEL + BAR, TOP + PANEL + 66
OPACITY = 0.6  # of the heat map at its maximum; falls in proportion, so that the anatomy shows where it is cold

INK, PAPER, MUTED, ALARM = (20, 20, 20), (255, 255, 255), (90, 90, 90), (190, 0, 0)
LUNG, REGION = (0, 229, 255), (255, 255, 255)
_SQUARE = np.ones((3, 3), np.uint8)


class Side(NamedTuple):
    """One image of the pair.

    Attributes:
        image: (S, S) uint8.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool, the heat-map region.
        probability: Of the decision's label; NaN where the network gave none.
        iol: Share of the region inside the lungs, NaN where undefined.
    """

    image: np.ndarray
    heat: np.ndarray
    region: np.ndarray
    probability: float
    iol: float


def draw_pair(
    original: Side,
    received: Side,
    lung: np.ndarray,
    *,
    label: float,
    caption: str,
    decision: Decision,
    settings: Robustness,
) -> np.ndarray:
    """Both images side by side with heat map, region outline and lung contour; fixed size and colour scale.

    Args:
        original: Left.
        received: Right.
        lung: (S, S) bool, the original's lung fields, drawn on both.
        label: 1 / 0 / NaN, what the data set says.
        caption: Stands below; the image's name.
        decision: What was decided.
        settings: Eta, region threshold, target and engine, which the picture states.

    Returns:
        (HEIGHT, WIDTH, 3) uint8 RGB.
    """
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(canvas)
    truth = "unknown" if isnan(label) else _name(bool(label), decision)
    pen.text((GAP, 10), f"Label: {truth}", INK, font(18, bold=True))
    answers = [
        "no prediction" if isnan(side.probability) else _name(side.probability >= decision.threshold, decision)
        for side in (original, received)
    ]
    if answers[0] != answers[1]:
        pen.text((WIDTH - GAP, 10), "the decision changes", ALARM, font(18, bold=True), anchor="ra")
    for number, (side, title) in enumerate(((original, "Original"), (received, "Compressed"))):
        left = GAP + number * (PANEL + GAP)
        wrong = not isnan(label) and answers[number] != truth
        probability = f"p = {side.probability:.4f}"
        room = PANEL - font(16).getlength(probability) - GAP
        answer = f"{title}: {answers[number]}{' (wrong)' if wrong else ''}"
        ink = ALARM if wrong else INK
        pen.text((left, 44), shorten(answer, font(16, bold=True), room), ink, font(16, bold=True))
        pen.text((left + PANEL, 44), probability, INK, font(16), anchor="ra")
        pen.text((left, 68), *_iol_line(side, lung, settings.eta), font(16))
        picture = overlay(side.image, side.heat, side.region, lung, (PANEL, PANEL))
        canvas.paste(Image.fromarray(picture), (left, TOP))
    _colour_scale(canvas, pen, settings.region_threshold)
    line = TOP + PANEL + 10
    why = "the decision made" if settings.target is Target.decision else decision.label
    engine = f"Heat map: {engine_title(settings.engine)}, target: {why}"
    pen.text((GAP, line), shorten(engine, font(14), 400), MUTED, font(14))
    pen.text((WIDTH - GAP, line), f"p: probability of {decision.label}", MUTED, font(14), anchor="ra")
    for left, colour, text in ((425, REGION, f"region, ≥ {settings.region_threshold:g} of max."), (660, LUNG, "lungs")):
        pen.rectangle((left, line, left + 30, line + 17), fill=(70, 70, 70))
        pen.line((left + 5, line + 8, left + 25, line + 8), colour, 3)
        pen.text((left + 38, line), text, MUTED, font(14))
    caption += f"   ·   layer {settings.layer}" if settings.layer else ""
    pen.text((GAP, line + 27), shorten(caption, font(15), WIDTH - 2 * GAP), INK, font(15))
    return np.asarray(canvas)


def _name(positive: bool, decision: Decision) -> str:
    return decision.label if positive else f"not {decision.label}"


def _iol_line(side: Side, lung: np.ndarray, eta: float) -> tuple[str, tuple[int, int, int]]:
    if not isnan(side.iol):
        outside = side.iol < eta
        note = f" < {eta:g}: looks outside the lungs" if outside else ""
        return f"IOL {side.iol:.2f}{note}", ALARM if outside else INK
    return f"IOL undefined: {'heat map is zero everywhere' if lung.any() else 'no lung found'}", MUTED


def overlay(
    image: np.ndarray, heat: np.ndarray, region: np.ndarray, lung: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """X-ray, heat map, outlines, each of any size and aspect ratio.

    Args:
        image: (H, W) uint8.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool.
        lung: (S, S) bool.
        size: Width and height of the result.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    smaller = len(image) > size[1]
    grey = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    blended = blend(grey, cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR))
    for mask, colour in ((lung, LUNG), (region, REGION)):
        full = (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5).astype(np.uint8)
        line = cv2.morphologyEx(full, cv2.MORPH_GRADIENT, _SQUARE)
        blended[cv2.dilate(line, _SQUARE) > 0] = 0  # a dark edge, so that it shows on white too
        blended[line > 0] = colour
    return blended


def blend(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W) uint8 under (H, W) float in [0, 1] -> (H, W, 3) uint8."""
    index = np.rint(heat * 255).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = (OPACITY * heat)[..., None]
    return np.rint(grey[..., None] * (1 - opacity) + colour * opacity).astype(np.uint8)


def _colour_scale(canvas: Image.Image, pen: ImageDraw.ImageDraw, threshold: float) -> None:
    """The fixed scale, as it looks over mid-grey: 0 to the map's own maximum."""
    left, length = 3 * GAP + 2 * PANEL, PANEL - 60
    top = TOP + 60
    ramp = np.repeat(np.linspace(1, 0, length, dtype=np.float32)[:, None], 22, axis=1)
    canvas.paste(Image.fromarray(blend(np.full(ramp.shape, 110, np.uint8), ramp)), (left, top))
    pen.multiline_text((left, TOP - 2), "share of\nthe map's\nmaximum", MUTED, font(14), spacing=3)
    for value in {0.0, threshold, 1.0}:
        y = top + (1 - value) * (length - 1)
        pen.line((left + 22, y, left + 28, y), INK, 1)
        pen.text((left + 33, y), f"{value:g}", INK, font(14), anchor="lm")


def shorten(text: str, typeface: ImageFont.FreeTypeFont, width: float) -> str:
    """Cuts out the middle of a text that is too long."""
    cut, keep = text, len(text)
    while typeface.getlength(cut) > width:
        keep -= 2
        cut = f"{text[: keep // 2]}…{text[-(keep // 2) :]}"
    return cut


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The pictures' typeface, in pixels."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)
