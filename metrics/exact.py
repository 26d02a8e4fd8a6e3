"""Sums that do not depend on their order: fixed-point int64, so that 1 and N processes agree to the last bit."""

from __future__ import annotations

from torch import Tensor

_ONE = 2**40  # float32 in [2^-17, 1] exactly, the rest to 1e-12; room for 8 million summands


def exact_sum(values: Tensor) -> Tensor:
    """Sum of float32 values in [0, 1] as a fixed-point int64 scalar; NaN counts nothing."""
    return (values.nan_to_num(0.0) * _ONE).round().long().sum()


def exact_mean(total: Tensor, n: int) -> float:
    """The mean that ``n`` summands of :func:`exact_sum` have, NaN for none."""
    return int(total) / _ONE / n if n else float("nan")
