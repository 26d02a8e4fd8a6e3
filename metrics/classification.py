"""ROC AUC, average precision and confusions of a classification task, NaN = unknown, exact over processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_confusion_matrix,
)
from torchmetrics.utilities import dim_zero_cat

from experiments.schema import ThresholdRule
from metrics.log_odds import log_odds, ranks
from metrics.tasks.thresholds import choose_threshold


class ClassificationScores(Metric):
    r"""Compute each label's scores against the rest, their mean, and accuracy where the classes exclude each other.

    .. math::
        \text{sensitivity} = \frac{TP}{TP + FN} \qquad \text{ppv} = \frac{TP}{TP + FP} \qquad
        \text{f1} = \frac{2 TP}{2 TP + FP + FN}

    Accuracy, sensitivity and PPV are those of Hide-and-Seek's tables (paper 001); the AUROC is the share of pairs of an
    image with and one without the label in which the former's probability is higher; AP as scikit-learn defines it.

    As input to ``update`` the metric accepts

    - ``logits``: (N, L) float;
    - ``targets``: (N, L) float, 1 / 0 / NaN = unknown. An unknown label is left out of its own scores; an image with
      one is left out of the scores of the argmax.

    As output of ``compute`` it returns a dictionary of scalars in [0, 1]: ``auroc`` and ``ap`` (the mean over the
    labels) and, with several labels, ``auroc/<label>`` and ``ap/<label>``. Where every known image has exactly one of
    several labels also those of the argmax: ``accuracy``, and per label ``sensitivity/<label>`` (recall),
    ``ppv/<label>`` (precision), ``f1/<label>``, and the numbers of images ``confusion/<label>/<called>``. Else those of
    ``decision`` alone, of the images whose label is known: ``accuracy``, ``sensitivity``, ``ppv``, ``f1`` (of several
    labels with ``/<label>`` behind the last three) and ``confusion``, with ``not <label>`` for the rest. A score that
    is not defined is left out: a label's AUROC and AP where all known images have it or none has, its PPV where no
    image is called so. All processes leave out the same. An image whose logits are not all finite is ranked by nothing:
    it is left out of all scores, and ``undefined`` is the number of such images where there are any.

    Args:
        labels: Names of the L labels.
        softmax: The labels are classes of a softmax, not a sigmoid each.
        decision: The label that a task decides on, and the probability at and above which it is positive; None: none.

    Example:
        Two of four images have the label, at ranks 1 and 3: AUROC 3/4, AP (1/1 + 2/3) / 2.

        >>> metric = ClassificationScores(["effusion"], softmax=False)
        >>> metric.update(torch.tensor([[4.0], [3.0], [2.0], [1.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]]))
        >>> metric.compute()
        {'auroc': tensor(0.7500), 'ap': tensor(0.8333)}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self, labels: list[str], *, softmax: bool, decision: tuple[str, float] | None = None) -> None:
        super().__init__()
        self.labels = labels
        self.softmax = softmax
        self.decision = decision
        # Flat, so that a process without any image gathers an empty tensor of the same dimension.
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add (N, L) logits and targets, 1 / 0 / NaN."""
        self.logits.append(logits.detach().float().flatten())
        self.targets.append(targets.float().flatten())

    def choose_thresholds(self, rule: ThresholdRule, sensitivity: float = 0.9) -> dict[str, float]:
        """Return each label's threshold by :func:`.choose_threshold`, on the images of all processes."""
        with self.sync_context():
            if len(self.logits) == 0:
                return {}
            logits, targets = self._images()
            probabilities = (logits.softmax(dim=1) if self.softmax else logits.sigmoid()).cpu().numpy()
            columns = zip(self.labels, probabilities.T, targets.cpu().numpy().T, strict=True)
            return {label: choose_threshold(p, y, rule, sensitivity) for label, p, y in columns}

    def _images(self) -> tuple[Tensor, Tensor]:
        """(N, L) logits, double since float32 probabilities near 1 are equal where logits still differ, and targets."""
        logits = dim_zero_cat(self.logits).view(-1, len(self.labels)).double()
        return logits, dim_zero_cat(self.targets).view(-1, len(self.labels))

    def compute(self) -> dict[str, Tensor]:
        """Return the defined scores by name."""
        if len(self.logits) == 0:
            return {}
        logits, targets = self._images()
        finite = logits.isfinite().all(dim=1)
        undefined = {} if finite.all() else {"undefined": (~finite).sum().float()}
        logits, targets = logits[finite], targets[finite]
        probabilities = logits.softmax(dim=1) if self.softmax else logits.sigmoid()

        # each label against the rest
        scores: dict[str, Tensor] = {}
        odds = log_odds(logits, softmax=self.softmax)
        for name, metric in {"auroc": binary_auroc, "ap": binary_average_precision}.items():
            by_label = {}
            for label, values, y in zip(self.labels, odds.T, targets.T, strict=True):
                is_known = ~y.isnan()
                if y[is_known].unique().numel() == 2:
                    by_label[label] = metric(ranks(values[is_known]), y[is_known].long()).float()
            if by_label:
                scores[name] = torch.stack(list(by_label.values())).mean()
            if len(self.labels) > 1:
                scores |= {f"{name}/{label}": score for label, score in by_label.items()}

        # the most probable label of each image
        is_known = ~targets.isnan().any(dim=1)
        if len(self.labels) > 1 and is_known.any() and (targets[is_known].sum(dim=1) == 1).all():
            classes = (logits[is_known].argmax(dim=1), targets[is_known].argmax(dim=1))
            scores |= self._class_scores(*classes, self.labels)
        elif self.decision is not None:
            scores |= self._decision_scores(probabilities, targets, *self.decision)
        return scores | undefined

    def _decision_scores(
        self, probabilities: Tensor, targets: Tensor, label: str, threshold: float
    ) -> dict[str, Tensor]:
        """The scores of one label's decision where the labels do not exclude each other."""
        index = self.labels.index(label)
        truth, positive = targets[:, index], probabilities[:, index].float() >= threshold
        is_known = ~truth.isnan()
        if not is_known.any():
            return {}

        classes = (~positive[is_known]).long(), (truth[is_known] != 1).long()
        scores = self._class_scores(*classes, [label, f"not {label}"])
        end = f"/{label}" if len(self.labels) > 1 else ""
        named = {f"{name}{end}": scores.get(f"{name}/{label}") for name in ("sensitivity", "ppv", "f1")}
        named |= {key: score for key, score in scores.items() if key.startswith(("accuracy", "confusion"))}
        return {key: score for key, score in named.items() if score is not None}

    def _class_scores(self, called: Tensor, truth: Tensor, labels: list[str]) -> dict[str, Tensor]:
        """Accuracy, each label's scores and the confusion matrix of (N,) classes."""
        matrix = multiclass_confusion_matrix(called, truth, len(labels))  # rows: truth; columns: what it is called
        hits, with_label, called_so = matrix.diag(), matrix.sum(dim=1), matrix.sum(dim=0)

        scores = {"accuracy": hits.sum() / len(truth)}
        shares = {
            "sensitivity": (hits, with_label),
            "ppv": (hits, called_so),
            "f1": (2 * hits, with_label + called_so),
        }
        for index, label in enumerate(labels):
            for name, (part, whole) in shares.items():
                if whole[index] > 0:
                    scores[f"{name}/{label}"] = part[index] / whole[index]
            for other, name in enumerate(labels):
                scores[f"confusion/{label}/{name}"] = matrix[index, other].float()
        return scores
