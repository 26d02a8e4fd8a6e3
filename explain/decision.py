"""The decision that PI, OLS and predict speak of: does the image show the label (COVID-19) or not?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.errors import UserError
from experiments.schema import DecisionRule, Robustness, Target, Task, TaskKind

NEAR = 0.02  # from its threshold: as far as the probability of a decision "near the threshold" lies at most


@dataclass(frozen=True)
class Decision:
    """Read one label's decision from a task's logits.

    Attributes:
        label: What is decided.
        index: The label's column in the logits.
        kind: ``multilabel`` (a sigmoid each) or ``multiclass`` (one softmax).
        threshold: Probability, in (0, 1), at and above which the decision is positive.
        rule: ``threshold``, or ``argmax``: positive where the label is the most probable one, whatever the threshold.

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
    rule: DecisionRule = DecisionRule.threshold

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
        if robustness.decision is DecisionRule.argmax and len(task.labels) < 2:
            raise UserError(f"robustness.decision: argmax needs two labels or more; task {task.name} has {task.labels}")
        index = task.labels.index(robustness.label)
        return cls(robustness.label, index, task.kind, robustness.threshold, robustness.decision)

    def answer(self, positive: bool) -> str:
        """Return the decision in words: ``COVID-19`` or ``not COVID-19``."""
        return self.label if positive else f"not {self.label}"

    @property
    def words(self) -> str:
        """When the decision is positive.

        Example:
            >>> Decision("COVID-19", index=2).words
            'COVID-19 where its probability is at least 0.5'
            >>> Decision("COVID-19", index=2, rule=DecisionRule.argmax).words
            'COVID-19 where it is the most probable class'
        """
        if self.rule is DecisionRule.argmax:
            return f"{self.label} where it is the most probable class"
        return f"{self.label} where its probability is at least {self.threshold:g}"

    def explained(self, target: Target) -> str:
        """Return which answer a heat map explains, in words: ``the decision made``.

        Example:
            >>> [Decision("COVID-19", index=2).explained(target) for target in Target]
            ['the decision made', 'COVID-19, also where it is denied', 'the most probable class']
        """
        return {
            Target.decision: "the decision made",
            Target.positive: f"{self.label}, also where it is denied",
            Target.predicted: "the most probable class",
        }[target]

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
        """Return the label's probability, (N,) float32 in [0, 1]; under softmax ``softmax(logits)[:, index]``.

        NaN where the network gave no finite number.
        """
        margin = self.margin(logits)
        return torch.where(margin.isfinite(), margin.sigmoid(), torch.nan)

    def positive(self, logits: Tensor) -> Tensor:
        """Return whether the decision is positive, by the rule, (N,) bool; without a probability (NaN) it is not."""
        probability = self.probability(logits)
        if self.rule is DecisionRule.argmax:
            return (logits.argmax(dim=1) == self.index) & ~probability.isnan()
        return probability >= self.threshold

    def is_near(self, *probabilities: float) -> bool:
        """Return whether any probability is within :data:`NEAR` of the threshold: a small change can turn the answer.

        By ``argmax`` there is no threshold to be near to.

        Args:
            probabilities: In [0, 1]; NaN is near nothing.

        Example:
            >>> decision = Decision("COVID-19", index=2)
            >>> decision.is_near(0.499), decision.is_near(0.9, 0.52), decision.is_near(0.53)
            (True, True, False)
        """
        if self.rule is DecisionRule.argmax:
            return False
        return any(round(abs(p - self.threshold), 6) <= NEAR for p in probabilities)

    def decided(self, logits: Tensor) -> Tensor:
        """Return the decision as a number, (N,) float32: 1 or 0, NaN where there is no probability."""
        return torch.where(self.probability(logits).isnan(), torch.nan, self.positive(logits).float())

    def score(self, logits: Tensor, target: Target = Target.decision, answered: Tensor | None = None) -> Tensor:
        """Return what Grad-CAM explains, (N,) float32: the evidence for an answer, in log-odds.

        ``decision``: the label's margin, negated where the decision is negative; ``positive``: the margin;
        ``predicted``: the margin of the class with the largest logit, of a task of one label the decision's.

        Args:
            logits: (N, number of labels), any floating type.
            target: Which answer is explained.
            answered: The logits that the answer is read from, where these are of other, perturbed images; None: these.

        Example:
            >>> logits = torch.tensor([[3.0, 0.0, -1.0]])
            >>> [Decision("COVID-19", index=2).score(logits, target).item() for target in Target]
            [1.0, -1.0, 3.0]
        """
        answered = logits if answered is None else answered
        if target is Target.predicted and logits.shape[1] > 1:
            return self._margins(logits, answered.argmax(dim=1))
        margin = self.margin(logits)
        return margin if target is Target.positive else torch.where(self.positive(answered), margin, -margin)

    def _margins(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N,) log-odds of each row's class."""
        logits, column = logits.float(), classes[:, None]
        logit = logits.gather(1, column).squeeze(1)
        if self.kind is TaskKind.multilabel:
            return logit
        return logit - logits.scatter(1, column, -torch.inf).logsumexp(dim=1)
