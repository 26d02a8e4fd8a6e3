import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from metrics.log_odds import log_odds, ranks


@given(st.lists(st.lists(st.floats(-90, 90, width=32), min_size=3, max_size=3), min_size=1, max_size=6))
def test_log_odds_are_those_of_the_softmax(rows: list[list[float]]):
    logits = torch.tensor(rows, dtype=torch.float64)
    found = log_odds(logits, softmax=True).numpy()
    for index in range(3):
        others = np.delete(np.array(rows), index, axis=1)
        np.testing.assert_allclose(found[:, index], np.array(rows)[:, index] - logsumexp(others, axis=1), atol=1e-9)
    assert torch.equal(log_odds(logits, softmax=False), logits)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=9))
def test_ranks_keep_order_and_ties(numbers: list[float]):
    values = torch.tensor(numbers, dtype=torch.float64)
    places = ranks(values)
    assert ((places >= 0) & (places < 1)).all()
    assert torch.equal(places[:, None] < places[None], values[:, None] < values[None])
