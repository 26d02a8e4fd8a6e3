"""The decision that PI, OLS and predict speak of: does the image show the label (COVID-19) or not?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.errors import UserError
from experiments.schema import Robustness, Target, Task, TaskKind


@dataclass(frozen=True)
class Decision:
    """Reads one label's decision from a task's logits.

    Attributes:
        label: What is decided.
        index: The label's column in the logits.
        kind: ``multilabel`` (a sigmoid each) or ``multiclass`` (one softmax).
        threshold: Probability at and above which the decision is positive.
    """

    label: str
    index: int
    kind: TaskKind = TaskKind.multilabel
    threshold: float = 0.5

    @classmethod
    def of(cls, task: Task, robustness: Robustness) -> Decision:
        """The decision on ``robustness.label`` by this task.

        Raises:
            UserError: The task does not know the label or is no classification, or the threshold is no probability.
        """
        if task.kind is TaskKind.boxes:
            raise UserError(f"robustness.task: {task.name} predicts boxes; name a multilabel or multiclass task")
        if robustness.label not in task.labels:
            known = ", ".join(task.labels)
            raise UserError(f"robustness.label: task {task.name} has no label {robustness.label!r}; it has: {known}")
        if not 0 < robustness.threshold < 1:
            raise UserError(f"robustness.threshold: {robustness.threshold} is no probability between 0 and 1")
        return cls(robustness.label, task.labels.index(robustness.label), task.kind, robustness.threshold)

    def margin(self, logits: Tensor) -> Tensor:
        """Log-odds of the label, (N,) float32: its logit, or under softmax ``z_c - logsumexp(others)``.

        Args:
            logits: (N, number of labels), any floating type.
        """
        logits = logits.float()
        own = logits[:, self.index]
        if self.kind is TaskKind.multilabel:
            return own
        others = torch.cat([logits[:, : self.index], logits[:, self.index + 1 :]], dim=1)
        return own - others.logsumexp(dim=1)

    def probability(self, logits: Tensor) -> Tensor:
        """Probability of the label, (N,) float32 in [0, 1]; under softmax equal to ``softmax(logits)[:, index]``."""
        return self.margin(logits).sigmoid()

    def positive(self, logits: Tensor) -> Tensor:
        """(N,) bool: the probability reaches the threshold. NaN decides nothing and gives False."""
        return self.probability(logits) >= self.threshold

    def sign(self, logits: Tensor, target: Target = Target.decision) -> Tensor:
        """+1 or, under ``Target.decision`` where the decision is negative, -1; (N,) float32."""
        if target is Target.positive:
            return torch.ones_like(logits[:, 0], dtype=torch.float32)
        return torch.where(self.positive(logits), 1.0, -1.0)

    def score(self, logits: Tensor, target: Target = Target.decision) -> Tensor:
        """What Grad-CAM explains, (N,) float32: the margin, under ``Target.decision`` negated where negative."""
        return self.sign(logits, target) * self.margin(logits)
