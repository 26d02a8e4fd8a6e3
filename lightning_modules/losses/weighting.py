"""How the task losses become one: mean (paper: Eq. 5), sum, or weighted by the uncertainty that each task learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from experiments.schema import Task, TaskKind, Weighting


class LossWeighting(nn.Module):
    """Weighs the task losses; what it returns adds up to the loss.

    * ``mean``: ``w_t L_t / sum(w)``, ``sum``: ``w_t L_t`` with the tasks' ``loss_weight`` as w;
    * ``uncertainty`` (Kendall, Gal, Cipolla, CVPR 2018, Eq. 10): ``exp(-s_t) w_t L_t + s_t / 2`` for classification,
      ``exp(-s_t) w_t L_t / 2 + s_t / 2`` for boxes; s_t, the logarithm of the task's variance, is learnt from 0 on. A
      task of which nothing is known in the batch leaves its s alone.

    Args:
        tasks: The active tasks.
        weighting: Which of the three.
    """

    def __init__(self, tasks: Sequence[Task], weighting: Weighting) -> None:
        super().__init__()
        self.weighting = weighting
        self.plain = {task.name: task.loss_weight for task in tasks}
        self.log_variances = None
        if weighting is Weighting.uncertainty:
            self.halves = [0.5 if task.kind is TaskKind.boxes else 1.0 for task in tasks]
            self.log_variances = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Tensor:
        """(T,) parts of the loss.

        Args:
            losses: The scalar losses of the T tasks in order; one of which nothing is known can still have a penalty.
            known: Whether anything is known of the task in this batch, scalar bool.
        """
        if self.log_variances is None:
            return self._plain(losses)
        stacked = torch.stack([self.plain[name] * loss for name, loss in losses.items()])
        some = torch.stack([known[name] for name in losses])
        log_variances = torch.where(some, self.log_variances, self.log_variances.detach())
        return stacked.new_tensor(self.halves) * torch.exp(-log_variances) * stacked + some * log_variances / 2

    def evaluate(self, losses: Mapping[str, Tensor]) -> Tensor:
        """An evaluation's loss, of tasks that need not be all; learnt weights differ from run to run: their mean."""
        return self._plain(losses).sum()

    def _plain(self, losses: Mapping[str, Tensor]) -> Tensor:
        weights = [self.plain[name] for name in losses]
        stacked = torch.stack(list(losses.values()))
        weighted = stacked * stacked.new_tensor(weights)
        return weighted if self.weighting is Weighting.sum else weighted / sum(weights)

    def weights(self) -> Tensor | None:
        """(T,) what the tasks' losses are multiplied by, where that is learnt."""
        return None if self.log_variances is None else torch.exp(-self.log_variances.detach())
