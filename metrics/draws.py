"""Prediction instability over several draws of a random channel: Eq. 1's probability, and its spread."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor
from torchmetrics import Metric


class DrawnInstability(Metric):
    r"""Compute the PI score over R draws of a random channel (COVIDMT paper, Eq. 1).

    .. math:: \text{PIP} = P\big(y(x) \neq y(R(x))\big)
        \approx \frac{1}{R N} \sum_{r}^{R} \sum_i^N 1\big(y(x_i) \neq y(R_r(x_i))\big)

    A pair without a decision (NaN) on the original or in any draw is left out of N.

    As input to ``update`` the metric accepts

    - ``original``: (N,) float decisions on the originals, 1 / 0 / NaN;
    - ``received``: (N, R) the same after each draw.

    As output of ``compute`` it returns a dictionary of ``mean``, the PI score in [0, 100] over all draws; ``sd``, the
    standard deviation of the draws' own PI scores, ``lowest`` and ``highest`` of them; ``any``, percent of pairs that
    change in at least one draw; and ``n``, pairs. All but ``n`` are NaN for N = 0.

    Args:
        draws: R, 2 or more.

    Example:
        Two pairs; the first changes in one of two draws, the second in both.

        >>> metric = DrawnInstability(draws=2)
        >>> metric.update(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        >>> {name: round(value, 1) for name, value in metric.compute().items()}
        {'mean': 75.0, 'sd': 35.4, 'lowest': 50.0, 'highest': 100.0, 'any': 100.0, 'n': 2}
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    flips: Tensor
    any: Tensor
    n: Tensor

    def __init__(self, draws: int) -> None:
        super().__init__()
        self.add_state("flips", torch.zeros(draws, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("any", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, original: Tensor, received: Tensor) -> None:
        """Add pairs: (N,) and (N, R) decisions."""
        defined = ~(original.isnan() | received.isnan().any(dim=1))
        changed = (original[:, None] != received) & defined[:, None]
        self.flips += changed.sum(dim=0)
        self.any += changed.any(dim=1).sum()
        self.n += defined.sum()

    def compute(self) -> dict[str, float]:
        """Return the scores over all pairs of all processes."""
        n = int(self.n)
        if not n:
            return dict.fromkeys(("mean", "sd", "lowest", "highest", "any"), nan) | {"n": 0}
        scores = 100 * self.flips.double() / n
        return {
            "mean": float(scores.mean()),
            "sd": float(scores.std()),
            "lowest": float(scores.min()),
            "highest": float(scores.max()),
            "any": 100 * int(self.any) / n,
            "n": n,
        }
