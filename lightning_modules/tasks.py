"""What a task adds to the base network: a head, a loss, the scores of an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from experiments.batch import TaskBatch
from experiments.errors import UserError
from experiments.models.schema import Model
from experiments.plugins.registry import choose, choose_function
from experiments.schema import Experiment, Task, TaskKind
from lightning_modules.heads import BoxHead, BoxOutput
from lightning_modules.losses.own import OwnLoss
from lightning_modules.losses.tasks import Term, box_terms, share_counts, weight_penalty
from lightning_modules.networks.backbones import Backbone
from metrics.boxes import BoxScores
from metrics.classification import ClassificationScores


class TermSum(Metric):
    """Add up :class:`.Term` parts over batches and processes.

    torchmetrics' MeanMetric gives 0 where there is nothing, and drops its weights where it is not to look for NaN.

    Example:
        >>> metric = TermSum()
        >>> metric.update(Term(torch.tensor(3.0), torch.tensor(2.0)))
        >>> metric.update(Term(torch.tensor(6.0), torch.tensor(1.0)))
        >>> metric.compute().mean
        tensor(3.)
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in Term._fields:
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, term: Term) -> None:
        """Add a batch's sum and count."""
        self.total = self.total + term.total  # not in place: trainer.validate leaves inference tensors behind
        self.count = self.count + term.count

    def compute(self) -> Term:
        """Return the sums over all batches of all processes."""
        return Term(self.total, self.count)


class TaskModule(nn.Module):
    """Base of the task kinds: a head on the base network's maps, its loss, and the scores of an epoch.

    A kind of one's own is a class below this one or below another kind (docs/extending.md). The loss is a sum of
    means; their sums and counts make an epoch's loss exact.

    Args:
        task: The task.
        head: Maps the base network's maps to the output.
        terms: Names of the means that :meth:`terms` returns.
        scores: What the task is scored by after an epoch; None: by its losses alone.

    Attributes:
        answers: What the output means to covidmt: logits of ``multilabel`` or ``multiclass``, ``boxes``, or ``custom``:
            its scores are its own, and it says by :meth:`image_scores` and :meth:`image_values` what else is read.
    """

    answers: ClassVar[TaskKind | str] = TaskKind.custom

    def __init__(self, task: Task, head: nn.Module, terms: list[str], scores: Metric | None) -> None:
        super().__init__()
        self.task = task
        self.head = head
        # A cast, since a ModuleDict's values are any modules to a type checker.
        self.sums = cast(Mapping[str, TermSum], nn.ModuleDict({key: TermSum() for key in terms}))
        self.scores = scores

    @abstractmethod
    def forward(self, maps: list[Tensor]) -> Any:
        """Return the head's output for the base network's maps of the task's images."""

    @abstractmethod
    def terms(self, output: Any, targets: TaskBatch) -> dict[str, Term]:
        """Return the means over a batch: those that make up the loss, and of boxes ``iou``, which is only logged."""

    @abstractmethod
    def score(self, output: Any, targets: TaskBatch) -> None:
        """Add a batch to the scores."""

    def penalty(self) -> Tensor | float:
        """Return what the loss adds to its means, whatever the images."""
        return 0.0

    def progress(self, output: Any, targets: TaskBatch) -> dict[str, Tensor]:
        """Return what is logged of a training batch besides its loss."""
        return {}

    def image_scores(self, output: Any, targets: TaskBatch) -> dict[str, Tensor]:
        """Return what ``covidmt evaluate`` takes the mean of, by name: (N,) a score of each image, NaN = unknown.

        Asked of a ``custom`` task alone; what covidmt reads itself it scores itself.
        """
        return {}

    def image_values(self, output: Any) -> dict[str, Tensor]:
        """Return what ``covidmt predict`` says of each image of a ``custom`` task, by name: (N,) numbers."""
        return {}

    def loss(self, output: Any, targets: TaskBatch) -> Tensor:
        """Return the loss of a training batch, a scalar that is connected to every parameter of the head."""
        return self.loss_and_known(output, targets)[0]

    def loss_and_known(self, output: Any, targets: TaskBatch) -> tuple[Tensor, Tensor]:
        """Return :meth:`loss`, and whether anything of this task is known in all processes' batches, a scalar bool."""
        terms = share_counts(self.terms(output, targets))
        known = torch.stack([term.count for term in terms.values()]).sum() > 0
        return self._total(terms), known

    @torch.no_grad()
    def update(self, output: Any, targets: TaskBatch) -> None:
        """Add a validation batch to the epoch's losses and scores."""
        for key, term in self.terms(output, targets).items():
            self.sums[key].update(term)
        self.score(output, targets)

    @torch.no_grad()
    def compute(self) -> dict[str, Tensor]:
        """Return ``loss`` and the scores over all batches of all processes; all of them leave out what is undefined."""
        terms = {key: metric.compute() for key, metric in self.sums.items()}
        results = {} if self.scores is None else dict(self.scores.compute())
        if "iou" in terms and terms["iou"].count > 0:
            results["iou"] = terms["iou"].mean
        if any(term.count > 0 for term in terms.values()):
            results["loss"] = self._total(terms)
        return results

    def reset(self) -> None:
        """Forget the epoch's batches."""
        for metric in [*self.sums.values(), self.scores]:
            if metric is not None:
                metric.reset()

    def _total(self, terms: dict[str, Term]) -> Tensor:
        means = [term.mean for key, term in terms.items() if key != "iou"]
        return torch.stack(means).sum() + self.penalty()


class ClassificationTask(TaskModule):
    """A task of kind ``multilabel`` (a sigmoid a label) or ``multiclass`` (a softmax).

    Args:
        task: The task.
        backbone: The base network, whose last map the head reads.
        experiment: For the kind of head (``model.head``), its width and the weights that it starts from.
    """

    answers = TaskKind.multilabel
    class_weights: Tensor | None

    def __init__(self, task: Task, backbone: Backbone, experiment: Experiment) -> None:
        robustness = experiment.robustness
        decision = (robustness.label, robustness.threshold) if task.name == robustness.task else None
        super().__init__(
            task,
            _classification_head(experiment.model, len(task.labels), backbone),
            ["cross_entropy"],
            ClassificationScores(task.labels, softmax=task.kind is TaskKind.multiclass, decision=decision),
        )
        weights = None if task.class_weights is None else torch.tensor(task.class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        own = "softmax_cross_entropy" if task.kind is TaskKind.multiclass else "sigmoid_cross_entropy"
        loss = choose_function("losses", task.loss or own, f"tasks.{task.name}.loss")
        self.cross_entropy = loss if task.loss is None else OwnLoss(loss, task)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return (N, labels) logits for maps of N images."""
        return self.head(maps[-1])

    def terms(self, output: Tensor, targets: TaskBatch) -> dict[str, Term]:
        """Return ``cross_entropy``, or the loss in its place, over the known labels or images."""
        return {"cross_entropy": self.cross_entropy(output, targets.targets, self.class_weights)}

    def progress(self, output: Tensor, targets: TaskBatch) -> dict[str, Tensor]:
        """Return ``accuracy`` of a softmax over the known images of the batch, NaN where there are none."""
        if self.task.kind is not TaskKind.multiclass:
            return {}
        known = ~targets.targets.isnan().any(dim=1)
        right = output.argmax(dim=1) == targets.targets.nan_to_num().argmax(dim=1)
        return {"accuracy": (right & known).sum() / known.sum()}

    def score(self, output: Tensor, targets: TaskBatch) -> None:
        """Add a batch to :class:`.ClassificationScores`."""
        assert self.scores is not None
        self.scores.update(output, targets.targets)


def _classification_head(model: Model, labels: int, backbone: Backbone) -> nn.Module:
    """The head that ``model.head`` chooses; each gets what its class or function has an argument for."""
    return choose(
        "heads",
        model.head,
        "model.head",
        channels=backbone.channels[-1],
        labels=labels,
        transition_channels=model.transition_channels,
        model=model,
        backbone=backbone,
    )


class BoxTask(TaskModule):
    """Box regression by regularised least squares (paper: Table 3), and the focal loss of the objectness branch.

    Without that branch, as in the paper, boxes are ranked by how far neighbouring anchors agree (:func:`.agreement`).

    Args:
        task: The task.
        backbone: The base network, whose maps the head's pyramid stands on.
        experiment: For the head's settings (``model.boxes``) and the images' size.
    """

    answers = TaskKind.boxes
    head: BoxHead

    def __init__(self, task: Task, backbone: Backbone, experiment: Experiment) -> None:
        settings = experiment.model.boxes
        super().__init__(
            task,
            BoxHead(backbone.channels, experiment.data.image_size, settings, backbone.strides),
            ["regression", "iou", *(["objectness"] if settings.objectness else [])],
            BoxScores(),
        )

    def forward(self, maps: list[Tensor]) -> BoxOutput:
        """Return codes and objectness of every anchor."""
        return self.head(maps)

    def terms(self, output: BoxOutput, targets: TaskBatch) -> dict[str, Term]:
        """Return ``regression`` and ``iou`` over the matched anchors, ``objectness`` over the images."""
        terms = box_terms(self.head, output, targets.boxes)._asdict()
        return {key: term for key, term in terms.items() if term is not None}

    def penalty(self) -> Tensor:
        """Return the regularisation of the least squares; it also holds where no anchor matches."""
        return self.head.settings.l2 * weight_penalty(self.head)

    def score(self, output: BoxOutput, targets: TaskBatch) -> None:
        """Add a batch to :class:`.BoxScores`."""
        assert self.scores is not None
        self.scores.update(self.head.decode(output), targets.boxes)


def build_tasks(experiment: Experiment, backbone: Backbone) -> Mapping[str, TaskModule]:
    """Return a module for every active task, in order (an ``nn.ModuleDict``); none for the others.

    Raises:
        UserError: A name that no module can have.
    """
    modules: dict[str, nn.Module] = {}
    for task in experiment.active:
        key = f"tasks.{task.name}.kind"
        module = choose(
            "tasks", task.module or task.kind.value, key, task=task, backbone=backbone, experiment=experiment
        )
        if not isinstance(module, TaskModule):
            raise UserError(f"{key}: {task.module} gives a {type(module).__name__}; it must be a TaskModule")
        modules[task.name] = module

    try:
        return cast(Mapping[str, TaskModule], nn.ModuleDict(modules))
    except KeyError as error:  # a dot, or the name of one of ModuleDict's own methods
        raise UserError(f"tasks: a task cannot have this name: {error.args[0]}") from error
