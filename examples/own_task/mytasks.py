"""A kind of task and a loss of one's own."""

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError

from covidmt import TaskModule, Term


class Severity(TaskModule):
    """How many of the task's labels an image shows, learned as a number: least squares over the known images."""

    def __init__(self, task, backbone, experiment, width: int = 16) -> None:
        layers = (nn.Conv2d(backbone.channels[-1], width, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(task, nn.Sequential(*layers, nn.Linear(width, 1)), terms=["squares"], scores=None)
        self.error = MeanAbsoluteError()

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return (N,) numbers for the maps of N images."""
        return self.head(maps[-1]).squeeze(1)

    def terms(self, output: Tensor, targets) -> dict[str, Term]:
        """Return what the loss is the mean of: a sum, and the number of its summands."""
        known, truth = self._truth(targets)
        return {"squares": Term(((output - truth).square() * known).sum(), known.sum().float())}

    def score(self, output: Tensor, targets) -> None:
        """Add a validation batch."""
        known, truth = self._truth(targets)
        if known.any():
            self.error.update(output[known], truth[known])

    def compute(self) -> dict[str, Tensor]:
        """Return what is logged as ``val/<task>/...``: the loss and the mean absolute error."""
        results = super().compute()
        if self.error.update_called:
            results["mean_error"] = self.error.compute()
        return results

    def reset(self) -> None:
        """Forget the epoch."""
        super().reset()
        self.error.reset()

    def image_scores(self, output: Tensor, targets) -> dict[str, Tensor]:
        """Return what ``covidmt evaluate`` takes the mean of."""
        return {"absolute_error": (output - targets.targets.sum(dim=1)).abs()}

    def image_values(self, output: Tensor) -> dict[str, Tensor]:
        """Return what ``covidmt predict`` says of each image."""
        return {"findings": output}

    def _truth(self, targets) -> tuple[Tensor, Tensor]:
        counts = targets.targets.sum(dim=1)  # NaN where a label is unknown
        return ~counts.isnan(), counts.nan_to_num(0.0)


def soft_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.1) -> Tensor:
    """Return the sigmoid cross-entropy of every label, with smoothed targets: (N, labels)."""
    return F.binary_cross_entropy_with_logits(logits, targets * (1 - smoothing) + smoothing / 2, reduction="none")
