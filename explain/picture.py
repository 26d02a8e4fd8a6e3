"""The picture of one image pair: what the network saw, answered and looked at, before and after the phone.

A drawing by Pillow, since one is made for each pair shown at every epoch. Its parts (:func:`overlay`, :func:`blend`,
:func:`draw_key` ...) are also those of the picture of one prediction.
"""

from __future__ import annotations

from functools import cache
from math import isnan
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.schema import DecisionRule, Robustness
from explain.cam import engine_title
from explain.decision import Decision

XRAY = 432  # pixels, width and height of each X-ray
GAP, TOP, BAR = 16, 118, 130  # margins; room for the titles; room for the colour scale
WIDTH, HEIGHT = 3 * GAP + 2 * XRAY + BAR, TOP + XRAY + 52  # a card of MLflow's UI is so wide and so high
TITLE, LINE = 31, 36  # pixels: titles, readable where the picture is 300 pixels wide, and their lines
OPACITY = 0.6  # of the heat map at its maximum; falls in proportion, so that the anatomy shows where it is cold

INK, PAPER, MUTED, ALARM = (20, 20, 20), (255, 255, 255), (90, 90, 90), (190, 0, 0)
LUNG, REGION = (0, 229, 255), (255, 255, 255)
SMOOTHING = 0.3  # of a mask's cell: an outline's blur where the mask gets larger; by 0.4 a single one vanishes
MARGIN = 3  # pixels between an image's border and an outline along it
_SQUARE = np.ones((3, 3), np.uint8)


class Side(NamedTuple):
    """One image of the pair.

    Attributes:
        image: (S, S) uint8.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool, the heat-map region.
        probability: Probability of the decision's label, in [0, 1]; NaN where the network gave none.
        positive: The decision.
        iol: Share of the region inside the lungs, in [0, 1]; NaN where undefined.
        cells: Height and width of the raw map that the heat map was resized from.
    """

    image: np.ndarray
    heat: np.ndarray
    region: np.ndarray
    probability: float
    positive: bool
    iol: float
    cells: tuple[int, int]


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
    """Draw both images side by side with heat map, region outline and lung contour; fixed size and colour scale.

    Args:
        original: The left side.
        received: The right side.
        lung: (S, S) bool, the original's lung fields, drawn on both; (0, 0): there is no mask.
        label: 1 / 0 / NaN, what the data set says.
        caption: Text below the images; the image's name.
        decision: What was decided, and by which rule.
        settings: Eta, region threshold, target and engine, which the picture states.

    Returns:
        (HEIGHT, WIDTH, 3) uint8 RGB.

    Example:
        >>> from experiments.schema import Robustness
        >>> heat = np.eye(8, dtype=np.float32)
        >>> side = Side(np.zeros((8, 8), np.uint8), heat, heat > 0, 0.9, positive=True, iol=0.5, cells=(4, 4))
        >>> decision, lung = Decision("COVID-19", index=2), np.ones((8, 8), bool)
        >>> picture = draw_pair(side, side, lung, label=1.0, caption="a.png", decision=decision, settings=Robustness())
        >>> picture.shape, picture.dtype
        ((602, 1042, 3), dtype('uint8'))
    """
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(canvas)

    # the data set's label above, and whether the answers agree
    truth = "unknown" if isnan(label) else decision.answer(bool(label))
    answers = [_answer(side, decision) for side in (original, received)]
    changes = "the decision changes" if answers[0] != answers[1] else ""
    typeface = font(TITLE, bold=True)
    room = WIDTH - 3 * GAP - typeface.getlength(changes)
    pen.text((GAP, 4), shorten(f"Label: {truth}", typeface, room), INK, typeface)
    pen.text((WIDTH - GAP, 4), changes, ALARM, typeface, anchor="ra")

    # both sides
    for number, (side, title) in enumerate(((original, "Original"), (received, "Received"))):
        is_wrong = not isnan(label) and answers[number] != truth
        _draw_side(canvas, GAP + number * (XRAY + GAP), side, lung, title, answers[number], is_wrong, settings.eta)

    # colour scale, legend and caption
    _draw_colour_scale(canvas, settings.region_threshold)
    _draw_legend(pen, decision, settings)
    caption += f"   ·   layer {settings.layer}" if settings.layer else ""
    cells, top = cells_text(original.cells), TOP + XRAY + 29
    room = WIDTH - 3 * GAP - font(15).getlength(cells)
    pen.text((GAP, top), shorten(caption, font(15), room), INK, font(15))
    pen.text((WIDTH - GAP, top), cells, ALARM if is_coarse(original.cells) else MUTED, font(15), anchor="ra")
    return np.asarray(canvas)


def is_coarse(cells: tuple[int, int]) -> bool:
    """Return whether a raw map has so few cells that one is a part of the chest: fewer than the usual 7 x 7 at 224 px.

    Args:
        cells: Height and width of the map.
    """
    return min(cells) < 7


def cells_text(cells: tuple[int, int]) -> str:
    """Return how fine a raw map is; of a coarse one also what a cell is.

    Args:
        cells: Height and width of the map.

    Example:
        >>> cells_text((16, 16)), cells_text((4, 4))
        ('map of 16 x 16 cells', 'coarse map of 4 x 4 cells: each is 6.2 % of the image')
    """
    height, width = cells
    text = f"map of {height} x {width} cells"
    return f"coarse {text}: each is {100 / (height * width):.1f} % of the image" if is_coarse(cells) else text


def _answer(side: Side, decision: Decision) -> str:
    return "no prediction" if isnan(side.probability) else decision.answer(side.positive)


def _draw_side(
    canvas: Image.Image, left: int, side: Side, lung: np.ndarray, title: str, answer: str, is_wrong: bool, eta: float
) -> None:
    """Draw a side's probability, answer and IOL, and below them its X-ray."""
    pen, regular, bold = ImageDraw.Draw(canvas), font(TITLE), font(TITLE, bold=True)
    pen.text((left, 4 + LINE), title, MUTED, regular)
    pen.text((left + XRAY, 4 + LINE), f"p = {side.probability:.3f}", INK, regular, anchor="ra")

    # the answer, and in what room is left the IOL
    inside, ink = _iol_words(side, lung, eta)
    room = XRAY - GAP - regular.getlength(inside)
    pen.text((left, 4 + 2 * LINE), shorten(answer, bold, room), ALARM if is_wrong else INK, bold)
    pen.text((left + XRAY, 4 + 2 * LINE), inside, ink, regular, anchor="ra")
    picture = overlay(side.image, side.heat, side.region, lung, (XRAY, XRAY))
    canvas.paste(Image.fromarray(picture), (left, TOP))


def _iol_words(side: Side, lung: np.ndarray, eta: float) -> tuple[str, tuple[int, int, int]]:
    if not isnan(side.iol):
        return f"IOL {side.iol:.2f}", ALARM if side.iol < eta else INK
    if not lung.size:
        return "no mask", MUTED
    return "no map" if lung.any() else "no lung", MUTED


def _draw_legend(pen: ImageDraw.ImageDraw, decision: Decision, settings: Robustness) -> None:
    """Draw what the heat map explains, what the outlines are, and what red means."""
    top = TOP + XRAY + 6
    engine = f"{engine_title(settings.engine)}, explains {decision.explained(settings.target)}"
    pen.text((GAP, top), shorten(engine, font(14), 318), MUTED, font(14))
    draw_key(pen, 346, top, REGION, f"region, ≥ {settings.region_threshold:g} of max.")
    draw_key(pen, 560, top, LUNG, "lungs")
    rule = "if p is highest" if decision.rule is DecisionRule.argmax else f"from p = {decision.threshold:g}"
    words = f"positive {rule}; red: wrong, or IOL < {settings.eta:g}"
    pen.text((WIDTH - GAP, top), shorten(words, font(14), 374), MUTED, font(14), anchor="ra")


def draw_key(pen: ImageDraw.ImageDraw, left: int, top: int, colour: tuple[int, int, int], text: str) -> None:
    """Draw an outline's colour on grey, and beside it what the outline is."""
    pen.rectangle((left, top, left + 30, top + 17), fill=(70, 70, 70))
    pen.line((left + 5, top + 8, left + 25, top + 8), colour, 3)
    pen.text((left + 38, top), text, MUTED, font(14))


def overlay(
    image: np.ndarray, heat: np.ndarray, region: np.ndarray, lung: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Draw an X-ray under its heat map, and the outlines of region and lungs; each of any size and aspect ratio.

    An outline is closed :data:`MARGIN` pixels from the image's border, so that a region with a hole is not taken for
    the hole.

    Args:
        image: (H, W) uint8.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool.
        lung: (S, S) bool; (0, 0): there is no mask.
        size: Width and height of the result.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    blended = blend(resize_grey(image, size), cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR))
    outlines = [(lung, LUNG), (region, REGION)] if lung.size else [(region, REGION)]
    for mask, colour in outlines:
        full = (_enlarge(mask, size) >= 0.5).astype(np.uint8)
        for border in (full[:MARGIN], full[-MARGIN:], full[:, :MARGIN], full[:, -MARGIN:]):
            border[:] = 0
        line = cv2.morphologyEx(full, cv2.MORPH_GRADIENT, _SQUARE)
        blended[cv2.dilate(line, _SQUARE) > 0] = 0  # a dark edge, so that it shows on white too
        blended[line > 0] = colour
    return blended


def resize_grey(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a (H, W) uint8 image with that width and height; each pixel counts where it gets smaller."""
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if len(image) > size[1] else cv2.INTER_LINEAR)


def _enlarge(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask as float32 of another size, its stairs smoothed where it gets larger; one cell alone stays."""
    full = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    scale = size[0] / mask.shape[1]
    return cv2.GaussianBlur(full, (0, 0), SMOOTHING * scale) if scale > 1 else full


def blend(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a heat map's colours over a grey image, the hotter the more opaque.

    Args:
        grey: (H, W) uint8.
        heat: (H, W) float in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB; grey where the heat map is 0.

    Example:
        >>> blend(np.array([[200]], np.uint8), np.array([[0.0]]))
        array([[[200, 200, 200]]], dtype=uint8)
    """
    index = np.rint(heat * 255).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = (OPACITY * heat)[..., None]
    return np.rint(grey[..., None] * (1 - opacity) + colour * opacity).astype(np.uint8)


def draw_ramp(canvas: Image.Image, left: int, top: int, ramp: np.ndarray) -> None:
    """Draw a (H, W) float32 ramp in the heat map's colours, as they look over mid-grey."""
    canvas.paste(Image.fromarray(blend(np.full(ramp.shape, 110, np.uint8), ramp)), (left, top))


def _draw_colour_scale(canvas: Image.Image, threshold: float) -> None:
    """Draw the fixed scale, 0 to the map's own maximum."""
    left, length = 3 * GAP + 2 * XRAY, XRAY - 90
    top = TOP + 76
    pen = ImageDraw.Draw(canvas)
    draw_ramp(canvas, left, top, np.repeat(np.linspace(1, 0, length, dtype=np.float32)[:, None], 30, axis=1))
    pen.multiline_text((left, TOP - 2), "share of\nthe map's\nmaximum", MUTED, font(20), spacing=3)
    for value in {0.0, threshold, 1.0}:
        y = top + (1 - value) * (length - 1)
        pen.line((left + 30, y, left + 38, y), INK, 2)
        pen.text((left + 44, y), f"{value:g}", INK, font(28), anchor="lm")


def shorten(text: str, typeface: ImageFont.FreeTypeFont, width: float) -> str:
    """Return the text without its middle if it is wider than ``width`` pixels.

    Example:
        >>> short = shorten("chest_x_ray_0001.png", font(14), width=100)
        >>> short[:4], "…" in short, short[-4:]
        ('ches', True, '.png')
    """
    cut, keep = text, len(text)
    while typeface.getlength(cut) > width:
        keep -= 2
        cut = f"{text[: keep // 2]}…{text[-(keep // 2) :]}"
    return cut


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the pictures' typeface, ``size`` pixels high."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)
