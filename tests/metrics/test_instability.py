from math import isnan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explain.decision import Decision
from metrics.instability import PredictionInstability
from tests.helpers.metrics import assert_processes_add_up

DECISION = Decision("COVID-19", 2)


def scored(original, received, batches=(slice(None),)):
    metric = PredictionInstability(DECISION)
    for rows in batches:
        metric.update(original[rows], received[rows])
    return metric.compute()


def logits(*covid, normal=-9.0):
    return torch.tensor([[normal, -9.0, value] for value in covid])


def test_hand_computed():
    # decisions: + -> -, - -> +, + -> + , exactly 0.5 -> just below, - -> -
    original, received = logits(1.0, -1.0, 1.0, 0.0, -2.0), logits(-1.0, 1.0, 2.0, -1e-3, -2.0)
    result = scored(original, received)
    assert result["score"] == pytest.approx(60.0)
    assert (result["flips_pos_to_neg"], result["flips_neg_to_pos"], result["n"]) == (2, 1, 5)
    assert (result["flips_pos_to_neg_percent"], result["flips_neg_to_pos_percent"]) == pytest.approx((40.0, 20.0))
    p = lambda z: 1 / (1 + torch.tensor(-z).exp().item())  # noqa: E731
    change = (2 * (p(1.0) - p(-1.0)) + p(2.0) - p(1.0) + 0.5 - p(-1e-3)) / 5
    assert result["mean_abs_change"] == pytest.approx(change, abs=1e-6)


def test_argmax_of_three_classes_is_not_the_decision():
    # COVID-19 stays positive, but normal overtakes it; a tie takes the first class on both sides
    original = torch.tensor([[0.0, -9.0, 1.0], [2.0, 2.0, -1.0]])
    received = torch.tensor([[2.0, -9.0, 1.0], [3.0, 3.0, -1.0]])
    result = scored(original, received)
    assert (result["score"], result["argmax"]) == (0.0, 50.0)


def test_several_batches_are_one():
    original = torch.tensor([[0.0, -9.0, 1.0], [2.0, 1.0, -1.0], [3.0, 0.0, 1.0], [1.0, -9.0, 2.0]])
    received = torch.tensor([[2.0, -9.0, 1.0], [1.0, 2.0, 3.0], [3.0, 0.0, -1.0], [1.0, -9.0, -2.0]])
    assert scored(original, received, [slice(3), slice(3, 4)]) == scored(original, received)
    assert scored(original, received)["argmax"] == 75


def test_nan_is_no_stable_prediction():
    result = scored(logits(float("nan"), 1.0, 1.0), logits(-1.0, 1.0, float("nan")))
    assert (result["n"], result["undefined"], result["score"]) == (1, 2, 0.0)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_pair_has_no_score():
    result = PredictionInstability(DECISION).compute()
    assert result["n"] == 0
    assert all(isnan(result[key]) for key in ("score", "argmax", "mean_abs_change"))


def test_processes_add_up():
    original, received = logits(1.0, 1.0, float("nan"), -1.0), logits(-1.0, 1.0, 1.0, 2.0)
    shares = [(original[rows], received[rows]) for rows in (slice(1), slice(1, 4))]
    assert_processes_add_up(lambda: PredictionInstability(DECISION), *shares)


def test_a_label_without_a_number_has_no_rank_and_the_others_decisions_count():
    """Of three pairs that have a decision one has finite logits on both sides, and its largest one changes."""
    nan, inf = float("nan"), float("inf")
    original = torch.tensor([[nan, 0.0, 1.0], [2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    received = torch.tensor([[0.0, 5.0, 1.0], [0.0, 2.0, 1.0], [0.0, inf, 1.0]])
    result = scored(original, received)
    assert (result["n"], result["undefined"], result["argmax"]) == (3, 0, pytest.approx(100 / 3))


pairs = st.lists(st.tuples(st.floats(-4, 4, width=32), st.floats(-4, 4, width=32)), min_size=1, max_size=12)


@given(pairs, st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_properties(values, cut):
    original, received = (logits(*side) for side in zip(*values, strict=True))
    result = scored(original, received)
    split = [rows for rows in (slice(None, cut), slice(cut, None)) if len(original[rows])]
    assert scored(original, received, split) == result  # to the last bit
    assert scored(original, received, list(reversed(split))) == result
    swapped = scored(received, original)
    assert {k: swapped[k] for k in ("score", "argmax", "mean_abs_change")} == {
        k: result[k] for k in ("score", "argmax", "mean_abs_change")
    }
    assert swapped["flips_pos_to_neg"] == result["flips_neg_to_pos"]
    assert 0 <= result["score"] <= 100
    assert scored(original, original)["score"] == 0


def test_what_is_no_finite_number_is_counted_and_no_decision():
    result = scored(logits(1.0, float("inf"), float("nan"), 1.0), logits(-1.0, 1.0, 1.0, float("-inf")))
    assert (result["score"], result["n"], result["undefined"]) == (100.0, 1, 3)
