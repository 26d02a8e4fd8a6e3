"""The decision that PI, OLS and predict speak of: does the image show the label (COVID-19) or not?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.errors import UserError
from experiments.schema import Robustness, Target, Task, TaskKind


@dataclass(frozen=True)
class Decision:
    """Read one label's decision from a task's logits.

    Attributes:
        label: What is decided.
        index: The label's column in the logits.
        kind: ``multilabel`` (a sigmoid each) or ``multiclass`` (one softmax).
        threshold: Probability, in (0, 1), at and above which the decision is positive.

    Example:
        >>> decision = Decision("COVID-19", index=2)
        >>> logits = torch.tensor([[3.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
        >>> decision.probability(logits), decision.positive(logits)
        (tensor([0.7311, 0.2689]), tensor([ True, False]))
        >>> decision.score(logits)  # both decisions have evidence of 1 on their side
        tensor([1., 1.])
    """

    label: str
    index: int
    kind: TaskKind = TaskKind.multilabel
    threshold: float = 0.5

    @classmethod
    def of(cls, task: Task, robustness: Robustness) -> Decision:
        """Return the decision on ``robustness.label`` by this task.

        Raises:
            UserError: The task does not know the label or is no classification, or the threshold is no probability.
        """
        if task.kind is TaskKind.boxes:
            raise UserError(f"robustness.task: {task.name} predicts boxes; name a multilabel or multiclass task")
        if robustness.label not in task.labels:
            labels = ", ".join(task.labels)
            raise UserError(f"robustness.label: task {task.name} has no label {robustness.label!r}; it has: {labels}")
        if not 0 < robustness.threshold < 1:
            raise UserError(f"robustness.threshold: {robustness.threshold} is no probability between 0 and 1")
        return cls(robustness.label, task.labels.index(robustness.label), task.kind, robustness.threshold)

    def answer(self, positive: bool) -> str:
        """Return the decision in words: ``COVID-19`` or ``not COVID-19``."""
        return self.label if positive else f"not {self.label}"

    def margin(self, logits: Tensor) -> Tensor:
        """Return the log-odds of the label, (N,) float32: its logit, or under softmax ``z_c - logsumexp(others)``.

        Args:
            logits: (N, number of labels), any floating type.
        """
        logits = logits.float()
        logit = logits[:, self.index]
        if self.kind is TaskKind.multilabel:
            return logit
        others = torch.cat([logits[:, : self.index], logits[:, self.index + 1 :]], dim=1)
        return logit - others.logsumexp(dim=1)

    def probability(self, logits: Tensor) -> Tensor:
        """Return the label's probability, (N,) float32 in [0, 1]; under softmax ``softmax(logits)[:, index]``."""
        return self.margin(logits).sigmoid()

    def positive(self, logits: Tensor) -> Tensor:
        """Return whether the probability reaches the threshold, (N,) bool; a NaN does not."""
        return self.probability(logits) >= self.threshold

    def sign(self, logits: Tensor, target: Target = Target.decision) -> Tensor:
        """Return +1 or, under ``Target.decision`` where the decision is negative, -1; (N,) float32."""
        if target is Target.positive:
            return torch.ones_like(logits[:, 0], dtype=torch.float32)
        return torch.where(self.positive(logits), 1.0, -1.0)

    def score(self, logits: Tensor, target: Target = Target.decision) -> Tensor:
        """Return what Grad-CAM explains, (N,) float32: the margin times the :meth:`sign`.

        It is the evidence for the decision made, or under ``Target.positive`` for the label.
        """
        return self.sign(logits, target) * self.margin(logits)
