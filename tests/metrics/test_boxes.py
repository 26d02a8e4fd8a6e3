from __future__ import annotations

import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from metrics.boxes import BoxScores


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
