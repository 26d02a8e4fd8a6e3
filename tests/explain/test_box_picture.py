"""Boxes on both sides of a pair."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw

from explain.box_picture import BoxSide, draw_box_pair, outline_boxes
from explain.picture import ALARM, INK, LUNG, MUTED, PAPER, font
from tests.helpers.sheets import Sheet, extent

GREY = np.full((16, 16), 90, np.uint8)
GREY_RGB = (90, 90, 90)
ONE, TWO = [(0.1, 0.1, 0.6, 0.6, 0.9)], [(0.1, 0.1, 0.6, 0.6, 0.9), (0.7, 0.7, 0.9, 0.9, 0.6)]
TRUE = [(0.1, 0.1, 0.5, 0.5)]


def runs(line: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    """The colours along a row or column of pixels, and how many pixels each lasts."""
    starts = [0, *(np.flatnonzero((line[1:] != line[:-1]).any(axis=1)) + 1), len(line)]
    return [(tuple(line[a].tolist()), int(b - a)) for a, b in pairwise(starts)]


@pytest.mark.parametrize(("boxes", "colour", "edge"), [((), LUNG, INK), (ONE, ALARM, PAPER)])
def test_a_box_is_a_line_of_three_pixels_with_two_of_an_edge_inside(boxes, colour, edge):
    box = (0.2, 0.3, 0.6, 0.8)
    drawn = outline_boxes(GREY, [(*box, 0.9)] if boxes else [], (200, 100), () if boxes else [box])
    side = [(colour, 3), (edge, 2)]
    assert runs(drawn[70]) == [(GREY_RGB, 40), *side, (GREY_RGB, 71), *side[::-1], (GREY_RGB, 79)]  # 40 to 120
    assert runs(drawn[:, 100]) == [(GREY_RGB, 30), *side, (GREY_RGB, 41), *side[::-1], (GREY_RGB, 19)]  # 30 to 80


def test_predicted_boxes_lie_above_true_ones():
    drawn = outline_boxes(GREY, [(0.2, 0.2, 0.8, 0.8, 0.9)], (100, 100), [(0.2, 0.2, 0.8, 0.8)])
    assert (drawn == ALARM).all(axis=2).any()
    assert not (drawn == LUNG).all(axis=2).any()


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((0.2, 0.4, 0.9, 0.9), (46, 45)),  # six pixels right of the corner (40, 40), and five below
        ((-0.1, -0.2, 0.9, 0.9), (2, 2)),
        ((0.95, 0.9, 1.0, 1.0), (160, 80)),
    ],
)
def test_a_score_stands_in_its_boxes_corner_inside_the_image(box, place):
    drawn = outline_boxes(GREY, [(*box, 0.876)], (200, 100))
    canvas = Image.fromarray(outline_boxes(GREY, [], (200, 100)))
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = box[0] * 200, box[1] * 100, box[2] * 200, box[3] * 100
    pen.rectangle((left, top, right, bottom), outline=PAPER, width=5)
    pen.rectangle((left, top, right, bottom), outline=ALARM, width=3)
    pen.text(place, "0.88", PAPER, font(14, bold=True), stroke_width=2, stroke_fill=ALARM)
    assert (drawn == np.asarray(canvas)).all()


def test_a_box_of_no_extent_or_at_the_edge_is_drawn():
    for box in ((0.5, 0.5, 0.5, 0.5, 0.9), (0.99, 0.99, 1.0, 1.0, 0.9), (0.6, 0.6, 0.4, 0.4, 0.9)):
        assert (outline_boxes(GREY, [box], (100, 100)) == ALARM).all(axis=2).any()


def test_both_sides_stand_beside_each_other():
    found, lost = BoxSide(GREY, ONE, True), BoxSide(GREY + 50, TWO, False)
    drawn = draw_box_pair(found, lost, TRUE, task="boxes", caption="a.png", iou=0.5)
    sheet = Sheet(912, 574)
    sheet.write((16, 10), "boxes", INK, 18, bold=True)
    sheet.write((896, 10), "lost on the way", ALARM, 18, bold=True, anchor="ra")

    sheet.write((16, 44), "Original: found", INK, 16, bold=True)
    sheet.write((448, 44), "1 box", INK, 16, anchor="ra")
    sheet.paste(outline_boxes(found.image, ONE, (432, 432), TRUE), (16, 76))
    sheet.write((464, 44), "Received: not found", ALARM, 16, bold=True)
    sheet.write((896, 44), "2 boxes", INK, 16, anchor="ra")
    sheet.paste(outline_boxes(lost.image, TWO, (432, 432), TRUE), (464, 76))

    sheet.key(16, 518, ALARM, "predicted, with its score")
    sheet.key(320, 518, LUNG, "true; found: IoU of 0.5 or more")
    sheet.write((16, 545), "a.png", MUTED, 15)
    assert (drawn == sheet.pixels).all()


def test_what_changes_between_the_sides_is_said_above():
    found, lost = BoxSide(GREY, ONE, True), BoxSide(GREY, [], False)
    settings = {"truths": TRUE, "task": "", "caption": "", "iou": 0.5}
    sheet = Sheet(912, 40)
    for both in (found, lost):
        assert (draw_box_pair(both, both, **settings)[:40] == sheet.pixels).all()
    sheet.write((896, 10), "found only after the way", ALARM, 18, bold=True, anchor="ra")
    assert (draw_box_pair(lost, found, **settings)[:40] == sheet.pixels).all()


def test_a_long_task_takes_half_of_the_width_and_a_long_caption_all_of_it():
    side = BoxSide(GREY, ONE, True)
    drawn = draw_box_pair(side, side, [], task="i" * 400, caption="i" * 400, iou=0.5)
    for part, right in ((drawn[:40], 16 + 456), (drawn[540:], 896)):
        first, last = extent(part)
        assert 16 <= first <= 18
        assert right - 12 <= last <= right
