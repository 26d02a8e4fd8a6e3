"""Prediction instability: does the answer change when the image goes through a phone? (COVIDMT paper, Eqs. 1, 2)."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor
from torchmetrics import Metric

from explain.decision import Decision
from metrics.exact import exact_mean, exact_sum


class PredictionInstability(Metric):
    r"""Compute the PI score of image pairs, and what stands beside it because PI is coarse on small sets.

    .. math:: \text{PI score} = \frac{100}{N} \sum_i^N 1\big(y(x_i) \neq y(R(x_i))\big)

    Where :math:`x_i` is an original, :math:`R(x_i)` the image that the phone received, and :math:`y` the decision
    (COVIDMT paper, section "The prediction instability problem", Eq. 2). A pair without a finite number on either side
    has no decision: it is left out of N and counted as ``undefined``.

    As input to ``forward`` and ``update`` the metric accepts

    - ``original``: (N, number of labels) float logits of the originals;
    - ``received``: the same of the received images, pair by pair.

    As output of ``forward`` and ``compute`` it returns a dictionary of

    - ``score``: PI score in [0, 100]; its interval needs the pairs' patients, :func:`metrics.intervals.share_interval`;
    - ``flips_pos_to_neg``, ``flips_neg_to_pos``: numbers of pairs; with ``..._percent`` behind, in percent of N;
    - ``argmax``: percent of pairs whose most probable label changes; 0 for a task of one label;
    - ``mean_abs_change``: mean absolute change of the label's probability, in [0, 1];
    - ``n``, ``undefined``: numbers of pairs.

    All but the numbers are NaN for N = 0.

    Args:
        decision: Reads the decision from logits.

    Example:
        Of four pairs the first changes from positive to negative; the second one's change does not cross the threshold.

        >>> from explain.decision import Decision
        >>> metric = PredictionInstability(Decision("COVID-19", index=0))
        >>> metric.update(torch.tensor([[1.0], [2.0], [-1.0], [-3.0]]), torch.tensor([[-1.0], [0.5], [-1.0], [-3.0]]))
        >>> scores = metric.compute()
        >>> scores["score"], scores["flips_pos_to_neg"], scores["flips_neg_to_pos"], scores["n"]
        (25.0, 1, 0, 4)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    pos_to_neg: Tensor
    neg_to_pos: Tensor
    argmax: Tensor
    change: Tensor
    n: Tensor
    undefined: Tensor

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision
        for name in ("pos_to_neg", "neg_to_pos", "argmax", "change", "n", "undefined"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, original: Tensor, received: Tensor) -> None:
        """Add pairs: both sides' logits, (N, number of labels) each, pair by pair."""
        before, after = self.decision.probability(original), self.decision.probability(received)
        defined = ~(before.isnan() | after.isnan())
        was_positive, is_positive = self.decision.positive(original), self.decision.positive(received)

        self.pos_to_neg += (was_positive & ~is_positive & defined).sum()
        self.neg_to_pos += (~was_positive & is_positive & defined).sum()
        ranked = defined & original.isfinite().all(dim=1) & received.isfinite().all(dim=1)
        self.argmax += ((original.argmax(dim=1) != received.argmax(dim=1)) & ranked).sum()
        self.change += exact_sum((before - after).abs())
        self.n += defined.sum()
        self.undefined += (~defined).sum()

    def compute(self) -> dict[str, float]:
        """Return the scores over all pairs of all processes."""
        n, pos_to_neg, neg_to_pos = int(self.n), int(self.pos_to_neg), int(self.neg_to_pos)
        percent = 100 / n if n else nan
        return {
            "score": percent * (pos_to_neg + neg_to_pos),
            "flips_pos_to_neg": pos_to_neg,
            "flips_neg_to_pos": neg_to_pos,
            "flips_pos_to_neg_percent": percent * pos_to_neg,
            "flips_neg_to_pos_percent": percent * neg_to_pos,
            "argmax": percent * int(self.argmax),
            "mean_abs_change": exact_mean(self.change, n),
            "n": n,
            "undefined": int(self.undefined),
        }
