"""What every metric of pairs and images must keep when its states are added up over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchmetrics import Metric


def assert_processes_add_up(make: Callable[[], Metric], *shares: tuple[Any, ...]) -> None:
    """Check that metrics of one share each, merged, give what one metric of all shares gives.

    Their counts are whole numbers: float32 ones stop to count at 2^24.
    """
    whole, (first, *others) = make(), [make() for _ in shares]
    for metric, share in zip([first, *others], shares, strict=True):
        metric.update(*share)
        whole.update(*share)
    for other in others:
        first.merge_state(other)
    assert str(first.compute()) == str(whole.compute())  # NaN is NaN
    counts = [state for state in first.metric_state.values() if isinstance(state, Tensor)]
    assert not any(count.is_floating_point() for count in counts)
