from math import isnan

import pytest
import torch

from metrics.exact import exact_mean, exact_sum


def test_by_hand_and_nan_counts_nothing():
    total = exact_sum(torch.tensor([0.5, torch.nan, 0.25]))
    assert total.dtype == torch.int64
    assert exact_mean(total, 2) == 0.375
    assert isnan(exact_mean(total, 0))


def test_no_order_and_no_cut_matters():
    values = torch.rand(1001, generator=torch.Generator().manual_seed(0))
    total = exact_sum(values)
    assert total == exact_sum(values.flip(0)) == sum(exact_sum(part) for part in values.split(17))
    assert exact_mean(total, 1001) == pytest.approx(float(values.double().mean()), abs=1e-12)
