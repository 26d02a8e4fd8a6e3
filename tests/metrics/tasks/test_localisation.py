from math import isnan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.tasks.localisation import LocalisationInstability, compare_boxes, sides_iou
from tests.helpers.metrics import assert_processes_add_up


def found(*boxes, scores=None, labels=None):
    """A prediction, or true boxes."""
    made = {"boxes": torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)}
    made["scores"] = torch.tensor(scores if scores is not None else [0.9] * len(boxes), dtype=torch.float)
    return made if labels is None else made | {"labels": torch.tensor(labels)}


def scored(*images, **options):
    """Of (original, received, truth) or (original, received, truth, received truth) each."""
    metric = LocalisationInstability(**options)
    for before, after, *truths in images:
        metric.update([before], [after], *([truth] for truth in truths))
    return metric.compute()


CAT = (found((10, 30, 50, 70)), found((12, 32, 52, 80)), found((11, 31, 51, 71)), found((13, 33, 53, 73)))
DOG = (found((20, 40, 60, 80)), found((22, 42, 62, 100)), found((21, 41, 61, 81)), found((23, 43, 63, 83)))


def test_the_published_value():
    """CheXwhatsApp's own example: IoU 0.906 on both originals; 0.796 and 0.661 on what was received."""
    images = [[{**side, "labels": torch.tensor([c])} for side in sides] for c, sides in enumerate((CAT, DOG))]
    got = scored(*images)
    assert (got["0.5/score"], got["0.75/score"], got["pairs"]) == (0.0, 50.0, 2)
    assert (got["0.75/lost"], got["0.75/gained"], got["0.75/localised"]) == (50.0, 0.0, 100.0)


def test_boxes_are_matched_within_the_image_in_any_order():
    """By row, the k-th with the k-th, both images would be lost: their boxes are listed the other way round."""
    one, two = (0, 0, 10, 10), (50, 50, 60, 60)
    got = scored((found(one, two), found(two, one), found(one, two)))
    assert got["0.75/score"] == 0
    assert got["iou"] == 1
    assert scored((found(two), found(one), found(one, two)))["0.75/score"] == 0  # either one finds the class


def test_direction_and_several_classes():
    """The first class is lost and the second gained: one unstable pair, counted in both directions."""
    one, two = (0, 0, 10, 10), (50, 50, 60, 60)
    truth = found(one, two, labels=[0, 1])
    got = scored((found(one, labels=[0]), found(two, labels=[1]), truth))
    assert (got["0.5/score"], got["0.5/lost"], got["0.5/gained"]) == (100.0, 100.0, 100.0)
    wrong_class = scored((found(one, labels=[1]), found(one, labels=[0]), truth))
    assert (wrong_class["0.5/lost"], wrong_class["0.5/gained"]) == (0.0, 100.0)
    assert wrong_class["iou"] == 0


def test_what_is_left_out_and_counted():
    box = (0, 0, 10, 10)
    got = scored(
        (found(box), found(box), found()),  # nothing to find
        (found(box), found(box, scores=[float("nan")]), found(box)),
        (found(), found(), found(box)),  # not found on either side: stable
    )
    assert (got["pairs"], got["no_box"], got["undefined"]) == (1, 1, 1)
    assert (got["0.5/score"], got["0.5/localised"]) == (0.0, 0.0)
    assert got["iou"] == 1  # of the first pair alone
    assert got["score_change"] == 0


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_pair_has_no_score():
    got = LocalisationInstability().compute()
    assert [got.pop(key) for key in ("pairs", "no_box", "undefined")] == [0, 0, 0]
    scores = {f"{t}/{key}" for t in (0.4, 0.5, 0.75) for key in ("score", "lost", "gained", "localised")}
    assert got.keys() == scores | {"iou", "score_change"}
    assert all(isnan(value) for value in got.values())


def test_processes_add_up():
    box = (0, 0, 10, 10)
    pairs = [
        (found(box), found((0, 0, 10, 4)), found(box)),
        (found(box), found(box), found()),
        (found(box), found(box, scores=[float("nan")]), found(box)),
        (found((0, 0, 10, 4)), found(box), found(box)),
    ]
    shares = [tuple([side] for side in pair) for pair in pairs]
    assert_processes_add_up(LocalisationInstability, *shares)


def test_a_score_that_is_reached_counts():
    """A box of score 0.5 is one; an IoU of 0.5 finds it at 0.5, and one of 0.4 at 0.4."""
    whole, half, less = (0, 0, 10, 10), (0, 0, 10, 5), (0, 0, 10, 4)
    got = scored((found(half, scores=[0.5]), found(less, scores=[0.5]), found(whole)))
    assert (got["0.5/lost"], got["0.5/localised"]) == (100, 100)
    assert (got["0.4/score"], got["0.4/localised"]) == (0, 100)


def test_the_change_of_the_score_is_a_mean_over_pairs():
    box = (0, 0, 10, 10)
    pairs = [(found(box, scores=[0.75]), found(box, scores=[0.25]), true) for true in (found(box), found())]
    got = scored(*pairs, (found(box), found(box), found(box)))
    assert got["score_change"] == pytest.approx(1 / 3)  # 1/2, 1/2 and 0
    assert (got["pairs"], got["no_box"]) == (2, 1)


def test_comparing_boxes_takes_the_defaults_of_the_metric():
    change = compare_boxes(found((0, 0, 10, 10), scores=[0.5]), found(), found((0, 0, 10, 8)))
    assert change is not None
    assert change.localised.tolist() == change.lost.tolist() == [True, True, True]
    assert not change.gained.any()
    assert change.score_change == 0.5
    assert compare_boxes(found((0, 0, 10, 10), scores=[0.4]), found(), found((0, 0, 10, 8))).localised.sum() == 0


def test_true_boxes_of_the_received_image_may_be_others():
    here, there = (0, 0, 10, 10), (50, 50, 60, 60)
    assert scored((found(here), found(there), found(here), found(there)))["0.75/score"] == 0
    assert scored((found(here), found(there), found(here)))["0.75/lost"] == 100
    only_there = scored((found(), found(there), found(), found(there)))
    assert (only_there["pairs"], only_there["0.75/gained"]) == (1, 100)


def test_a_box_below_the_score_counts_in_nothing_but_the_change_of_the_score():
    box = (0, 0, 10, 10)
    sides = found(box, scores=[0.6]), found(box, scores=[0.4]), found(box)
    assert scored(sides)["0.5/lost"] == 100.0
    assert scored(sides, score=0.3)["0.5/lost"] == 0.0
    assert scored(sides)["score_change"] == pytest.approx(0.2, abs=1e-6)
    assert scored((found(), found(box, scores=[0.4]), found(box)))["score_change"] == pytest.approx(0.4, abs=1e-6)


def test_overlap_of_both_sides_by_hand():
    """Halves of a square: IoU 1/2 each way; a third box has no partner."""
    whole, half, other = (0, 0, 10, 10), (0, 0, 10, 5), (50, 50, 60, 60)
    assert sides_iou(found(whole), found(half)) == 0.5
    assert sides_iou(found(whole), found(half, other)) == pytest.approx(1 / 3)
    assert sides_iou(found(whole), found()) == 0
    assert isnan(sides_iou(found(), found()))


corner = st.integers(0, 40)
box = st.tuples(corner, corner, st.integers(1, 30), st.integers(1, 30)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
prediction = st.lists(st.tuples(box, st.floats(0, 1, width=32), st.integers(0, 1)), max_size=4).map(
    lambda rows: found(*(r[0] for r in rows), scores=[r[1] for r in rows], labels=[r[2] for r in rows])
)
truth = st.lists(st.tuples(box, st.integers(0, 1)), max_size=3).map(
    lambda rows: found(*(r[0] for r in rows), labels=[r[1] for r in rows])
)


@given(st.lists(st.tuples(prediction, prediction, truth), min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_properties(images, random):
    got = scored(*images)
    shuffled = list(images)
    random.shuffle(shuffled)
    assert str(scored(*shuffled)) == str(got)  # to the last bit

    swapped = scored(*((after, before, true) for before, after, true in images))
    for t in ("0.4", "0.5", "0.75"):
        assert str(swapped[f"{t}/score"]) == str(got[f"{t}/score"])
        assert str(swapped[f"{t}/lost"]) == str(got[f"{t}/gained"])
        if got["pairs"]:
            assert max(got[f"{t}/lost"], got[f"{t}/gained"]) <= got[f"{t}/score"] + 1e-9
            assert got[f"{t}/score"] <= got[f"{t}/lost"] + got[f"{t}/gained"] + 1e-9
            assert got[f"{t}/lost"] <= got[f"{t}/localised"]
    assert str(swapped["iou"]) == str(got["iou"])
    assert swapped["score_change"] == got["score_change"]

    # the same boxes on both sides, in any order
    for before, _, true in images:
        order = torch.randperm(len(before["boxes"]))
        mixed = {name: value[order] for name, value in before.items()}
        change = compare_boxes(before, mixed, true)
        assert change is not None
        assert not (change.lost | change.gained).any()
        assert change.score_change == 0
        assert isnan(change.iou) or change.iou == pytest.approx(1)
