"""Prediction instability of a whole task: of each of its labels, and of all of them together."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor
from torchmetrics import Metric

from explain.task_decisions import TaskDecisions
from metrics.exact import exact_mean, exact_sum


class TaskInstability(Metric):
    r"""Compute the PI score of a classification task over image pairs, by label and for all labels together.

    .. math:: \text{PI}_l = \frac{100}{N_l} \sum_i^{N_l} 1\big(y_l(x_i) \neq y_l(R(x_i))\big), \quad
        \text{PI} = \frac{100}{N} \sum_i^N 1\big(\exists l: y_l(x_i) \neq y_l(R(x_i))\big)

    Where :math:`y_l(x_i)` is the decision on label l of an original and :math:`y_l(R(x_i))` that on what the phone
    received (COVIDMT paper, Eq. 2). That a pair is unstable if *any* decision of the task differs is the definition of
    CheXwhatsApp (2024); the task's PI is at least as large as that of each label. Answers are compared with answers: an
    image whose true label is unknown counts as any other. A label without a finite number on either side is left out
    of its own :math:`N_l`, and a pair with such a label is left out of N and counted as ``undefined``.

    As input to ``forward`` and ``update`` the metric accepts

    - ``original``: (N, L) float logits of the originals;
    - ``received``: the same of the received images, pair by pair.

    As output of ``forward`` and ``compute`` it returns a dictionary of

    - ``score``: the task's PI score in [0, 100];
    - ``mean_abs_change``: mean absolute change of a label's probability, in [0, 1], over all labels;
    - ``pairs``, ``undefined``: numbers of pairs;
    - ``<label>/score``, ``<label>/mean_abs_change``: the same of each label alone;
    - ``<label>/flips_pos_to_neg``, ``<label>/flips_neg_to_pos``, ``<label>/pairs``: numbers of pairs.

    All but the numbers are NaN where no pair counts.

    Args:
        decisions: Reads the decisions from logits.

    Example:
        Of two pairs the first loses its effusion and the second gains a nodule: each label's PI is 50, the task's 100.

        >>> from experiments.schema import Robustness, Task
        >>> task = Task("findings", "nih", labels=["Effusion", "Nodule"])
        >>> metric = TaskInstability(TaskDecisions.of(task, Robustness()))
        >>> metric.update(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        >>> scores = metric.compute()
        >>> scores["Effusion/score"], scores["Nodule/score"], scores["score"], scores["Nodule/flips_neg_to_pos"]
        (50.0, 50.0, 100.0, 1)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    lost: Tensor
    gained: Tensor
    change: Tensor
    known: Tensor
    unstable: Tensor
    pairs: Tensor
    undefined: Tensor

    def __init__(self, decisions: TaskDecisions) -> None:
        super().__init__()
        self.decisions = decisions
        by_label = torch.zeros(len(decisions.labels), dtype=torch.int64)
        for name in ("lost", "gained", "change", "known"):
            self.add_state(name, by_label.clone(), dist_reduce_fx="sum")
        for name in ("unstable", "pairs", "undefined"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, original: Tensor, received: Tensor) -> None:
        """Add pairs: both sides' logits, (N, L) each, pair by pair."""
        before, after = self.decisions.decided(original), self.decisions.decided(received)
        known = ~(before.isnan() | after.isnan())
        lost, gained = (before > after) & known, (before < after) & known
        change = (self.decisions.probability(original) - self.decisions.probability(received)).abs()

        # by label
        self.lost += lost.sum(dim=0)
        self.gained += gained.sum(dim=0)
        self.known += known.sum(dim=0)
        self.change += torch.stack([exact_sum(column) for column in change.unbind(1)])

        # any label
        complete = known.all(dim=1)
        self.unstable += ((lost | gained).any(dim=1) & complete).sum()
        self.pairs += complete.sum()
        self.undefined += (~complete).sum()

    def compute(self) -> dict[str, float]:
        """Return the scores over all pairs of all processes."""
        pairs = int(self.pairs)
        scores = {
            "score": 100 * int(self.unstable) / pairs if pairs else nan,
            "mean_abs_change": exact_mean(self.change.sum(), int(self.known.sum())),
            "pairs": pairs,
            "undefined": int(self.undefined),
        }
        columns = (self.lost.tolist(), self.gained.tolist(), self.known.tolist(), self.change)
        for label, lost, gained, known, change in zip(self.decisions.labels, *columns, strict=True):
            scores |= {
                f"{label}/score": 100 * (lost + gained) / known if known else nan,
                f"{label}/mean_abs_change": exact_mean(change, known),
                f"{label}/flips_pos_to_neg": lost,
                f"{label}/flips_neg_to_pos": gained,
                f"{label}/pairs": known,
            }
        return scores
