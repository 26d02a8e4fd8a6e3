import math

import torch

from metrics.draws import DrawnInstability

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
    assert scores.pop("n") == 0
    assert all(math.isnan(value) for value in scores.values())
