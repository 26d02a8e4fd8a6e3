import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.membership import advantage_bound, membership_advantage


def test_each_resample_has_a_threshold_of_its_own():
    """Losses 1 and 3 of members, 2 and 4 of others. Equal weights: threshold 2, advantage 1/2 - 1/2.

    With the second member three times: threshold 2.5; 1/4 of the members lie below and 1/2 of the others.
    """
    member, loss = np.array([True, True, False, False]), np.array([1.0, 3.0, 2.0, 4.0])
    weights = np.array([[1.0, 1, 1, 1], [1, 3, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]])
    found = membership_advantage(weights, member, loss)
    assert found[:2].tolist() == [0.0, -0.25]
    assert np.isnan(found[2:]).all()


def test_a_network_that_has_learnt_its_images_by_heart_tells_them_all():
    member = np.arange(20) < 10
    assert membership_advantage(np.ones((1, 20)), member, np.where(member, 0.0, 3.0)).tolist() == [1.0]


@given(st.floats(0, 50), st.floats(0, 0.1))
def test_the_bound_grows_with_epsilon_and_never_exceeds_one(epsilon: float, delta: float):
    bound = advantage_bound(epsilon, delta)
    assert 0 <= bound <= 1
    assert bound <= advantage_bound(epsilon + 1, delta) or bound == pytest.approx(1)
    expected = (math.exp(epsilon) - 1 + 2 * delta) / (math.exp(epsilon) + 1)
    assert bound == pytest.approx(min(1, expected), abs=1e-9)
    assert advantage_bound(math.inf, delta) == 1
