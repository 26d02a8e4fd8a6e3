"""Boxes on both sides of a pair."""

import numpy as np

from explain.box_picture import HEIGHT, WIDTH, BoxSide, draw_box_pair, outline_boxes
from explain.picture import ALARM, LUNG

GREY = np.full((16, 16), 90, np.uint8)


def pixels_of(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_predicted_and_true_boxes_have_their_colours_and_lie_where_they_are():
    picture = outline_boxes(GREY, [(0.25, 0.5, 0.75, 1.0, 0.8)], (100, 200), [(0.0, 0.0, 0.1, 0.1)])
    assert picture.shape == (200, 100, 3)
    rows, columns = np.nonzero((picture == ALARM).all(axis=2))
    assert (columns.min(), columns.max()) == (25, 75)
    assert (rows.min(), rows.max()) == (100, 199)
    assert pixels_of(picture, LUNG) > 0
    assert pixels_of(outline_boxes(GREY, [], (100, 200)), ALARM) == 0


def test_a_box_of_no_extent_or_at_the_edge_is_drawn():
    for box in ((0.5, 0.5, 0.5, 0.5, 0.9), (0.99, 0.99, 1.0, 1.0, 0.9), (0.6, 0.6, 0.4, 0.4, 0.9)):
        assert pixels_of(outline_boxes(GREY, [box], (100, 100)), ALARM) > 0


def test_both_sides_stand_beside_each_other():
    found, lost = BoxSide(GREY, [(0.1, 0.1, 0.6, 0.6, 0.9)], True), BoxSide(GREY, [], False)
    changed = draw_box_pair(found, lost, [(0.1, 0.1, 0.5, 0.5)], task="boxes", caption="a.png", iou=0.5)
    same = draw_box_pair(found, found, [(0.1, 0.1, 0.5, 0.5)], task="boxes", caption="a.png", iou=0.5)
    assert changed.shape == same.shape == (HEIGHT, WIDTH, 3)
    assert pixels_of(changed[:40], ALARM) > 0  # what changes is said
    assert pixels_of(same[:40], ALARM) == 0
