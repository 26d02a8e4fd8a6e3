import math

import pytest
import torch

from metrics.draws import DrawnInstability
from tests.helpers.metrics import assert_processes_add_up

NAN = float("nan")


def test_undefined_pairs_are_left_out_and_batches_add_up():
    original = torch.tensor([1, 1, NAN, 0])
    received = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 0], [0, NAN, 1]])
    metric = DrawnInstability(draws=3)
    for rows in (slice(0, 1), slice(1, 4)):
        metric.update(original[rows], received[rows])
    scores = metric.compute()
    assert scores["n"] == 2
    assert scores["mean"] == 100 * 2 / 6
    assert (scores["lowest"], scores["highest"], scores["any"]) == (0, 50, 50)
    assert math.isclose(scores["sd"], torch.tensor([50.0, 0, 50]).std().item(), rel_tol=1e-6)


def test_no_pair_has_no_score():
    scores = DrawnInstability(draws=2).compute()
    undefined = dict.fromkeys(("mean", "sd", "lowest", "highest", "any"), NAN)
    assert scores == pytest.approx(undefined | {"n": 0}, nan_ok=True)


def test_every_changing_pair_counts_in_any():
    """Three of four pairs change in some draw."""
    metric = DrawnInstability(draws=2)
    metric.update(torch.tensor([1.0, 1, 0, 0]), torch.tensor([[0.0, 1], [0, 0], [0, 0], [0, 1]]))
    assert metric.compute()["any"] == 75


def test_processes_add_up():
    original, received = torch.tensor([1.0, 1, 0]), torch.tensor([[0.0, 1], [1, 1], [1, 1]])
    assert_processes_add_up(
        lambda: DrawnInstability(draws=2), (original[:1], received[:1]), (original[1:], received[1:])
    )
