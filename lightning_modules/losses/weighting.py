"""How the task losses become one: mean (paper: Eq. 5), sum, or weighted by the uncertainty that each task learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from experiments.schema import Task, TaskKind, Weighting


class LossWeighting(nn.Module):
    """Weigh the task losses; the parts that it returns add up to the loss.

    * ``mean``: ``w_t L_t / sum(w)`` (paper: Eq. 5), ``sum``: ``w_t L_t`` with the tasks' ``loss_weight`` as w;
    * ``uncertainty`` (Kendall, Gal, Cipolla, CVPR 2018, Eq. 10): ``exp(-s_t) w_t L_t + s_t / 2`` for classification,
      ``exp(-s_t) w_t L_t / 2 + s_t / 2`` for boxes; s_t, the logarithm of the task's variance, is learnt from 0 on. A
      task of which nothing is known in the batch leaves its s alone.

    Args:
        tasks: The active tasks.
        weighting: Which of the three.

    Example:
        >>> weighting = LossWeighting([Task(name="covidx"), Task(name="nodule", loss_weight=3.0)], Weighting.mean)
        >>> losses = {"covidx": torch.tensor(0.4), "nodule": torch.tensor(0.8)}
        >>> weighting(losses, known={})  # 0.4 / 4 and 3 * 0.8 / 4
        tensor([0.1000, 0.6000])
    """

    def __init__(self, tasks: Sequence[Task], weighting: Weighting) -> None:
        super().__init__()
        self.weighting = weighting
        self.loss_weights = {task.name: task.loss_weight for task in tasks}
        self.log_variances = None
        if weighting is Weighting.uncertainty:
            self.halves = {task.name: 0.5 if task.kind is TaskKind.boxes else 1.0 for task in tasks}
            self.log_variances = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Tensor:
        """Return the (T,) parts of the loss.

        Args:
            losses: The scalar losses of the T tasks in order; one of which nothing is known can still have a penalty.
            known: Whether anything is known of the task in this batch, scalar bool; read under ``uncertainty``.
        """
        if self.log_variances is None:
            return self._fixed(losses)
        weighted = self._weighted(losses, self.halves)
        any_known = torch.stack([known[name] for name in losses])
        log_variances = torch.where(any_known, self.log_variances, self.log_variances.detach())
        return torch.exp(-log_variances) * weighted + any_known * log_variances / 2

    def evaluate(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return an evaluation's loss, a scalar, of tasks that need not be all.

        Learnt weights differ from run to run: the loss under ``uncertainty`` is the ``mean``.
        """
        return self._fixed(losses).sum()

    def weights(self) -> Tensor | None:
        """Return the (T,) factors of the tasks' losses, where they are learnt; else None."""
        return None if self.log_variances is None else torch.exp(-self.log_variances.detach())

    def _fixed(self, losses: Mapping[str, Tensor]) -> Tensor:
        """(T,) the losses times their fixed weights, over the weights' sum where they are averaged."""
        weighted = self._weighted(losses, dict.fromkeys(losses, 1.0))
        if self.weighting is Weighting.sum:
            return weighted
        return weighted / sum(self.loss_weights[name] for name in losses)

    def _weighted(self, losses: Mapping[str, Tensor], factors: Mapping[str, float]) -> Tensor:
        """(T,) the losses times plain numbers: a tensor of those would be copied to the device in every step."""
        return torch.stack([self.loss_weights[name] * factors[name] * loss for name, loss in losses.items()])
