"""The decisions of a classification task: one for each of its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from experiments.schema import DecisionRule, Robustness, Target, Task, TaskKind
from explain.decision import Decision


@dataclass(frozen=True)
class TaskDecisions:
    """Read the decisions of all labels of a task from its logits.

    Attributes:
        task: The task's name.
        decisions: One for each label, in the task's order.
        explained: What a heat map of the task explains: a decision and the answer to it. Of the task that decides
            (``robustness.task``) and of a task of one label this is ``robustness.target`` of the decision; of any other
            the most probable class.

    Example:
        >>> task = Task("findings", "nih", labels=["Effusion", "Nodule"])
        >>> decisions = TaskDecisions.of(task, Robustness(), {"Nodule": 0.2})
        >>> decisions.decided(torch.tensor([[0.1, -1.0], [-0.1, float("nan")]]))
        tensor([[1., 1.],
                [0., nan]])
    """

    task: str
    decisions: tuple[Decision, ...]
    explained: tuple[Decision, Target]

    @classmethod
    def of(cls, task: Task, robustness: Robustness, thresholds: Mapping[str, float] | None = None) -> TaskDecisions:
        """Return the decisions of a task of kind ``multilabel`` or ``multiclass``.

        The labels of the task that decides follow ``robustness.decision``, and the deciding one ``threshold``. Of any
        other task, sigmoids are positive at and above the threshold, and of a softmax the most probable class is.

        Args:
            task: The task.
            robustness: The definitions' settings.
            thresholds: Label -> probability at and above which it is positive, as chosen on the validation set
                (:mod:`metrics.tasks.thresholds`); others are 0.5, and chosen ones hold for a softmax too.
        """
        chosen, decides = thresholds or {}, task.name == robustness.task
        rule = DecisionRule.argmax if task.kind is TaskKind.multiclass and not chosen else DecisionRule.threshold
        if decides:
            rule = robustness.decision
        decisions = [
            Decision(label, index, task.kind, chosen.get(label, 0.5), rule) for index, label in enumerate(task.labels)
        ]

        # what a heat map explains
        explained = decisions[0], robustness.target if len(decisions) == 1 else Target.predicted
        if decides:
            decision = Decision.of(task, robustness)
            decisions[decision.index] = decision
            explained = decision, robustness.target
        return cls(task.name, tuple(decisions), explained)

    @cached_property
    def labels(self) -> list[str]:
        """The labels, in order."""
        return [decision.label for decision in self.decisions]

    def probability(self, logits: Tensor) -> Tensor:
        """Return every label's probability, (N, L) float32 in [0, 1], of (N, L) logits; NaN where there is none."""
        return torch.stack([decision.probability(logits) for decision in self.decisions], dim=1)

    def decided(self, logits: Tensor) -> Tensor:
        """Return every label's decision, (N, L) float32: 1, 0 or NaN, of (N, L) logits."""
        return torch.stack([decision.decided(logits) for decision in self.decisions], dim=1)

    def score(self, logits: Tensor) -> Tensor:
        """Return what a heat map of the task explains, (N,) float32; see :meth:`.Decision.score`."""
        decision, target = self.explained
        return decision.score(logits, target)
