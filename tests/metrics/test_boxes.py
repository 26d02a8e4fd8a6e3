from __future__ import annotations

import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from metrics.boxes import BoxScores
from tests.helpers.metrics import assert_processes_add_up
from tests.helpers.processes import on_two_processes


def image(boxes, scores):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return {"boxes": boxes, "scores": torch.tensor(scores), "labels": torch.zeros(len(boxes), dtype=torch.int64)}


A, B = [10.0, 10, 30, 30], [40.0, 40, 60, 60]


def test_by_hand():
    """The one true box is found, behind a false one: precision 1/2 at every recall."""
    metric = BoxScores()
    metric.update([image([A, B], [0.4, 0.9])], [torch.tensor([A])])
    assert {key: float(value) for key, value in metric.compute().items()} == pytest.approx({"map": 0.5, "map_50": 0.5})


def test_equals_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    predictions, truths = [], []
    for i in range(6):
        truth = torch.rand(i % 3, 4, generator=generator) * 20 + torch.tensor([0, 0, 30, 30])
        noisy = truth + torch.randn(truth.shape, generator=generator) * 2
        false = torch.tensor([[5.0, 5, 12, 14]])
        boxes = torch.cat([noisy, false])
        predictions.append(image(boxes.tolist(), torch.rand(len(boxes), generator=generator).tolist()))
        truths.append(truth)
    ours, library = BoxScores(), MeanAveragePrecision()
    for rows in (slice(0, 2), slice(2, 6)):
        ours.update(predictions[rows], truths[rows])
    library.update(
        predictions, [{"boxes": truth, "labels": torch.zeros(len(truth), dtype=torch.int64)} for truth in truths]
    )
    expected = library.compute()
    for key, value in ours.compute().items():
        torch.testing.assert_close(value, expected[key])


def test_no_true_box_is_not_defined():
    metric = BoxScores()
    assert metric.compute() == {}
    metric.update([image([A], [0.5])], [torch.zeros(0, 4)])
    assert metric.compute() == {}


def test_nothing_found_is_zero_and_reset_forgets():
    metric = BoxScores()
    metric.update([image([], [])], [torch.tensor([A])])
    assert metric.compute()["map"] == 0
    metric.reset()
    metric.update([image([A], [0.5])], [torch.tensor([A])])
    assert metric.compute()["map"] == 1


def _share(rank: int) -> dict[str, float]:
    """What a process of two says that sees three images, or one; all detections are equally sure."""
    metric = BoxScores()
    for index in (0, 2, 3) if rank == 0 else (1,):
        metric.update(*_of_four(index))
    return {key: float(value) for key, value in metric.compute().items()}


def _of_four(index: int):
    """Image of four: the first two are found, the others' detections are wrong; all are equally sure."""
    return [image([A if index < 2 else B], [0.5])], [torch.tensor([A])]


def test_two_processes_score_all_images_once(tmp_path):
    alone = BoxScores()
    for index in (0, 1, 2, 3):
        alone.update(*_of_four(index))
    expected = {key: float(value) for key, value in alone.compute().items()}
    assert on_two_processes(_share, tmp_path) == (expected, expected)


def _all_or_nothing(rank: int) -> float:
    """The first of two processes finds all of its 40 boxes, the other one none, all equally sure."""
    metric = BoxScores()
    metric.update([image([B if rank else A], [0.5])] * 40, [torch.tensor([A])] * 40)
    return float(metric.compute()["map"])


def test_images_that_are_dealt_out_in_turns_keep_their_order(tmp_path):
    """Found and missed alternate."""
    alone = BoxScores()
    alone.update([image([A], [0.5]), image([B], [0.5])] * 40, [torch.tensor([A])] * 80)
    assert on_two_processes(_all_or_nothing, tmp_path) == (float(alone.compute()["map"]),) * 2


def test_the_images_of_a_batch_keep_their_order():
    """Found, then missed, equally sure: precision 1 up to a recall of 1/2."""
    metric = BoxScores()
    metric.update([image([A], [0.5]), image([B], [0.5])], [torch.tensor([A])] * 2)
    assert float(metric.compute()["map"]) == pytest.approx(51 / 101)


def test_equally_sure_detections_count_in_the_order_of_the_images():
    """Found, found, missed, missed: precision 1 up to a recall of 1/2, which 51 of 101 recalls reach."""
    metric = BoxScores()
    for index in range(4):
        metric.update(*_of_four(index))
    assert float(metric.compute()["map"]) == pytest.approx(51 / 101)


def test_the_images_of_several_batches_keep_their_order():
    """Four found, then two missed, all equally sure: precision 1 up to a recall of 2/3, which 67 of 101 reach."""
    metric, truths = BoxScores(), [torch.tensor([A])] * 2
    for box in (A, A, B):
        metric.update([image([box], [0.5])] * 2, truths)
    assert float(metric.compute()["map"]) == pytest.approx(67 / 101)


def test_a_box_with_an_iou_of_a_half_is_found_at_a_half_alone():
    """Of ten thresholds 0.50, 0.55 ... 0.95 an IoU of 0.52 reaches one."""
    metric = BoxScores()
    metric.update([image([[10.0, 10, 30, 20.4]], [0.5])], [torch.tensor([A])])
    assert {key: float(value) for key, value in metric.compute().items()} == pytest.approx({"map": 0.1, "map_50": 1})


def test_processes_add_up():
    shares = ([image([A], [0.9])], [torch.tensor([A])]), ([image([B], [0.3])], [torch.tensor([A])])
    assert_processes_add_up(BoxScores, *shares, ([image([B], [float("nan")])], [torch.tensor([B])]))


def test_the_boxes_of_different_images_never_meet():
    """A box of one image lies where another image's true box is: no hit."""
    metric = BoxScores()
    metric.update([image([A], [0.9]), image([], [])], [torch.tensor([B]), torch.tensor([A])])
    assert float(metric.compute()["map"]) == 0


def test_an_image_without_numbers_is_counted_and_left_out():
    metric = BoxScores()
    metric.update([image([A], [0.9]), image([B], [float("nan")])], [torch.tensor([A]), torch.tensor([B])])
    assert {key: float(value) for key, value in metric.compute().items()} == {"map": 1, "map_50": 1, "undefined": 1}
    metric.reset()
    metric.update([image([B], [float("nan")])], [torch.tensor([B])])
    assert metric.compute() == {"undefined": 1}
