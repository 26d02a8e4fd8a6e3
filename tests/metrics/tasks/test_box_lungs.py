import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metrics.tasks.box_lungs import BoxesOutOfLungs, box_regions
from tests.helpers.metrics import assert_processes_add_up


def predicted(*boxes, scores=None):
    return {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "scores": torch.tensor(scores or [0.9] * len(boxes))}


def scored(predictions, lung, **options):
    metric = BoxesOutOfLungs(**options)
    metric.update(predictions, lung)
    return metric.compute()


def lungs(*columns, size=10):
    """One image each, whose first so many columns are lung."""
    lung = torch.zeros(len(columns), size, size, dtype=torch.bool)
    for image, count in zip(lung, columns, strict=True):
        image[:, :count] = True
    return lung


def test_by_hand():
    boxes = [predicted((0, 0, 4, 10), (1, 0, 6, 4), (3, 0, 8, 4)), predicted((0, 0, 10, 10)), predicted()]
    got = scored(boxes, lungs(4, 0, 4))  # in the lungs: 1, 3/5, 1/5; no lungs; no box
    assert (got["n"], got["no_lung"]) == (3, 1)
    assert got["score"] == pytest.approx(100 / 3)
    assert got["mean"] == pytest.approx((1 + 0.6 + 0.2) / 3, abs=1e-6)
    assert scored(boxes, lungs(4, 0, 4), eta=0.7)["score"] == pytest.approx(200 / 3)


def test_a_score_of_a_half_and_two_fifths_in_the_lungs_suffice():
    got = scored([predicted((0, 0, 10, 10), (0, 0, 10, 10), scores=[0.5, 0.49])], lungs(4))
    assert (got["n"], got["score"]) == (1, 0)


def test_a_centre_on_the_left_or_upper_edge_is_in_the_box_and_on_the_others_not():
    region = box_regions(torch.tensor([[0.5, 1.5, 2.5, 3.5]]), (5, 4))[0]
    assert region.nonzero().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]


def test_masks_need_not_be_square():
    """The box takes columns 4 to 7 of 8, all below the first row of 4; lung are rows 0 and 1."""
    lung = torch.zeros(1, 4, 8, dtype=torch.bool)
    lung[:, :2] = True
    got = scored([predicted((4, 1, 8, 4))], lung)
    assert (got["n"], got["mean"]) == (1, pytest.approx(1 / 3, abs=1e-6))


def test_processes_add_up():
    shares = ([predicted((0, 0, 4, 10))], lungs(4)), ([predicted((5, 0, 9, 10)), predicted()], lungs(4, 0))
    assert_processes_add_up(BoxesOutOfLungs, *shares)


def test_a_box_without_numbers_has_no_region():
    got = scored([predicted((float("nan"),) * 4, scores=[float("nan")])], lungs(5))
    assert (got["n"], got["no_region"]) == (0, 1)


@given(st.lists(st.tuples(*[st.floats(-5, 15, width=32)] * 4), max_size=6))
def test_regions_are_the_pixels_whose_centres_lie_in_the_box(corners):
    boxes = torch.tensor(corners).reshape(-1, 4)
    regions = box_regions(boxes, (7, 9))
    for (x1, y1, x2, y2), region in zip(boxes.tolist(), regions, strict=True):
        for y in range(7):
            for x in range(9):
                assert bool(region[y, x]) == (x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2)
