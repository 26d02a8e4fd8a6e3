"""Prediction instability: does the answer change when the image goes through a phone? (Eqs. 1, 2 of the paper)."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor
from torchmetrics import Metric

from explain.decision import Decision
from metrics.exact import exact_mean, exact_sum
from metrics.intervals import wilson


class PredictionInstability(Metric):
    """PI score over image pairs (Eq. 2), and what stands beside it because PI is coarse on small sets.

    A pair whose probability is NaN on either side has no decision; it is left out of N and counted.

    Args:
        decision: Reads the decision from logits.
    """

    full_state_update = False
    higher_is_better = False
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
        """Takes both sides' logits, (N, number of labels) each, pair by pair."""
        before, after = self.decision.probability(original), self.decision.probability(received)
        defined = ~(before.isnan() | after.isnan())
        was, now = before >= self.decision.threshold, after >= self.decision.threshold
        self.pos_to_neg += (was & ~now & defined).sum()
        self.neg_to_pos += (~was & now & defined).sum()
        self.argmax += ((original.argmax(dim=1) != received.argmax(dim=1)) & defined).sum()
        self.change += exact_sum((before - after).abs())
        self.n += defined.sum()
        self.undefined += (~defined).sum()

    def compute(self) -> dict[str, float]:
        """Scores over all pairs of all processes.

        Returns:
            ``score`` (PI score in percent) with ``ci_low`` and ``ci_high`` (Wilson, 95 %, percent);
            ``flips_pos_to_neg`` and ``flips_neg_to_pos`` (pairs, ``..._percent`` of all); ``argmax`` (percent of pairs
            whose most probable label changes; 0 for a task of one label); ``mean_abs_change`` (of the label's
            probability); ``n`` and ``undefined`` (pairs). NaN for n = 0, but the counts.
        """
        n, lost, gained = int(self.n), int(self.pos_to_neg), int(self.neg_to_pos)
        low, high = wilson(lost + gained, n)
        percent = 100 / n if n else nan
        return {
            "score": percent * (lost + gained),
            "ci_low": 100 * low,
            "ci_high": 100 * high,
            "flips_pos_to_neg": lost,
            "flips_neg_to_pos": gained,
            "flips_pos_to_neg_percent": percent * lost,
            "flips_neg_to_pos_percent": percent * gained,
            "argmax": percent * int(self.argmax),
            "mean_abs_change": exact_mean(self.change, n),
            "n": n,
            "undefined": int(self.undefined),
        }
