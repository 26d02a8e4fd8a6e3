"""Sums that do not depend on their order: fixed-point int64, so that 1 and N processes agree to the last bit."""

from __future__ import annotations

from torch import Tensor

_ONE = 2**40  # float32 in [2^-17, 1] exactly, the rest to 1e-12; room for 8 million summands


def exact_sum(values: Tensor) -> Tensor:
    """Return the sum of float32 values in [0, 1] as a fixed-point int64 scalar; NaN counts as 0.

    Example:
        >>> import torch
        >>> total = exact_sum(torch.tensor([0.5, torch.nan, 0.25]))
        >>> total
        tensor(824633720832)
        >>> exact_mean(total, 2)
        0.375
    """
    return (values.nan_to_num(0.0) * _ONE).round().long().sum()


def exact_mean(total: Tensor, n: int) -> float:
    """Return the mean of the ``n`` summands of an :func:`exact_sum`, NaN for none."""
    return int(total) / _ONE / n if n else float("nan")
