"""ROC AUC, average precision and confusions of a classification task, NaN = unknown, exact over processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat


class ClassificationScores(Metric):
    """Each label against the rest, their mean, and accuracy where the classes exclude each other.

    ``compute`` gives ``auroc`` and ``ap`` (the mean over the labels) and, with several labels, ``auroc/<label>`` and
    ``ap/<label>``. Where every known image has exactly one of several labels also those of the argmax: ``accuracy``,
    and per label ``sensitivity/<label>`` (recall), ``ppv/<label>`` (precision), ``f1/<label>``, and the numbers of
    images ``confusion/<label>/<called>``. A score that is not defined is left out: a label's AUROC and AP where all
    known images have it or none has, its PPV where no image is called so. All processes leave out the same.

    Args:
        labels: Names of the labels.
        softmax: The labels are classes of a softmax, not a sigmoid each.
    """

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self, labels: list[str], *, softmax: bool) -> None:
        super().__init__()
        self.labels = labels
        self.softmax = softmax
        # Flat, so that a process without any image gathers an empty tensor of the same dimension.
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add (N, L) logits and targets, 1 / 0 / NaN."""
        self.logits.append(logits.detach().float().flatten())
        self.targets.append(targets.float().flatten())

    def compute(self) -> dict[str, Tensor]:
        """The defined scores by name."""
        if len(self.logits) == 0:
            return {}
        # Double: float32 probabilities near 1 are equal where the logits still differ.
        logits = dim_zero_cat(self.logits).view(-1, len(self.labels)).double()
        targets = dim_zero_cat(self.targets).view(-1, len(self.labels))
        probabilities = logits.softmax(dim=1) if self.softmax else logits.sigmoid()
        scores: dict[str, Tensor] = {}
        for name, metric in {"auroc": binary_auroc, "ap": binary_average_precision}.items():
            each = {}
            for label, p, y in zip(self.labels, probabilities.T, targets.T, strict=True):
                known = ~y.isnan()
                if y[known].unique().numel() == 2:
                    each[label] = metric(p[known], y[known].long()).float()
            if each:
                scores[name] = torch.stack(list(each.values())).mean()
            if len(self.labels) > 1:
                scores |= {f"{name}/{label}": score for label, score in each.items()}
        known = ~targets.isnan().any(dim=1)
        if len(self.labels) > 1 and known.any() and (targets[known].sum(dim=1) == 1).all():
            scores |= self._of_argmax(logits[known].argmax(dim=1), targets[known].argmax(dim=1))
        return scores

    def _of_argmax(self, said: Tensor, truth: Tensor) -> dict[str, Tensor]:
        scores = {"accuracy": (said == truth).float().mean()}
        for index, label in enumerate(self.labels):
            called, has = said == index, truth == index
            hits = (called & has).sum()
            counts = {"sensitivity": (hits, has.sum()), "ppv": (hits, called.sum())}
            counts["f1"] = (2 * hits, has.sum() + called.sum())
            scores |= {f"{name}/{label}": part.float() / whole for name, (part, whole) in counts.items() if whole > 0}
            for other, name in enumerate(self.labels):
                scores[f"confusion/{label}/{name}"] = (has & (said == other)).sum().float()
        return scores
