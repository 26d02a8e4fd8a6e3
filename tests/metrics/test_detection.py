import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from metrics.detection import COCO_IOU, RSNA_IOU, match_boxes, mean_average_precision, rsna_precision


def image(*boxes_and_scores):
    boxes = torch.tensor([box for box, _ in boxes_and_scores], dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "scores": torch.tensor([score for _, score in boxes_and_scores], dtype=torch.float32)}


def boxes(*some):
    return torch.tensor(some, dtype=torch.float32).reshape(-1, 4)


SQUARE = (0, 0, 10, 10)


def test_a_true_box_is_found_once():
    matches = match_boxes([image((SQUARE, 0.5), (SQUARE, 0.9))], [boxes(SQUARE)], np.array([0.5]))
    assert matches.score.tolist() == pytest.approx([0.9, 0.5])
    assert matches.hit.tolist() == [[True, False]]


@pytest.mark.parametrize(("box", "score"), [(SQUARE, float("nan")), ((0, 0, 10, float("inf")), 0.5)])
def test_what_is_no_number_cannot_be_ranked(box, score):
    with pytest.raises(ValueError, match="must be finite"):
        match_boxes([image((SQUARE, 0.5)), image((box, score))], [boxes(SQUARE)] * 2, COCO_IOU)


def test_rsna_scores_a_box_that_is_missed_0():
    scores = rsna_precision(match_boxes([image(), image()], [boxes(SQUARE), boxes()], RSNA_IOU), 0.5)
    assert scores[0] == 0
    assert np.isnan(scores[1])


def test_equally_sure_detections_keep_the_order_of_their_images():
    """The first 20 of 40 are right: precision 1 up to a recall of 1/2, which 51 of 101 recalls reach."""
    found, missed = image((SQUARE, 0.5)), image(((50, 50, 60, 60), 0.5))
    matches = match_boxes([found] * 20 + [missed] * 20, [boxes(SQUARE)] * 40, COCO_IOU)
    assert mean_average_precision(np.ones((1, 40)), matches) == pytest.approx([51 / 101])


def test_only_the_proportions_of_weights_count():
    found, missed = image((SQUARE, 0.5)), image(((50, 50, 60, 60), 0.9))
    matches = match_boxes([found, missed], [boxes(SQUARE)] * 2, COCO_IOU)
    weights = np.array([[3.0, 1.0]])
    assert mean_average_precision(weights / 8, matches) == pytest.approx(mean_average_precision(weights, matches))


def test_rsna_by_hand():
    predictions = [
        image((SQUARE, 0.9)),  # exact: 1 at every threshold
        image(((0, 0, 10, 6), 0.9)),  # IoU 0.6: hit at 0.40 ... 0.60 (5 of 8)
        image(((20, 20, 30, 30), 0.9), (SQUARE, 0.8)),  # one hit, one false: 1/2
        image((SQUARE, 0.9)),  # nothing there: 0
        image((SQUARE, 0.2)),  # below the score, nothing there: left out
    ]
    truths = [boxes(SQUARE)] * 3 + [boxes()] * 2
    scores = rsna_precision(match_boxes(predictions, truths, RSNA_IOU), 0.5)
    assert scores[:4] == pytest.approx([1, 5 / 8, 0.5, 0])
    assert np.isnan(scores[4])


@pytest.mark.parametrize("seed", range(4))
def test_as_torchmetrics_with_unit_weights(seed):
    rng = np.random.default_rng(seed)
    predictions, truths = [], []
    for _ in range(6):
        corners = rng.uniform(0, 40, (rng.integers(0, 4), 2))  # no IoU is a threshold to the last digit
        truth = np.concatenate([corners, corners + rng.uniform(10, 30, corners.shape)], axis=1)
        found = np.concatenate([truth + rng.uniform(-4, 4, truth.shape), truth + rng.uniform(-20, 20, truth.shape)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        predictions.append(image(*[(tuple(map(float, box)), float(rng.random())) for box in found]))
        truths.append(boxes(*truth.tolist()))
    reference = MeanAveragePrecision()
    labelled = [{**p, "labels": torch.zeros(len(p["scores"]), dtype=torch.int64)} for p in predictions]
    reference.update(labelled, [{"boxes": t, "labels": torch.zeros(len(t), dtype=torch.int64)} for t in truths])
    expected = reference.compute()
    for thresholds, key in ((COCO_IOU, "map"), (COCO_IOU[:1], "map_50")):
        value = mean_average_precision(np.ones((1, 6)), match_boxes(predictions, truths, thresholds))
        assert value == pytest.approx([float(expected[key])], abs=1e-6)


def test_weights_are_repeated_images():
    predictions = [image((SQUARE, 0.9)), image(((50, 50, 60, 60), 0.8))]
    truths = [boxes(SQUARE), boxes(SQUARE)]
    twice = match_boxes([predictions[0], predictions[0], predictions[1]], [truths[0], truths[0], truths[1]], COCO_IOU)
    once = match_boxes(predictions, truths, COCO_IOU)
    assert mean_average_precision(np.array([[2.0, 1.0]]), once) == pytest.approx(
        mean_average_precision(np.ones((1, 3)), twice)
    )
    assert np.isnan(mean_average_precision(np.zeros((1, 2)), once)).all()
