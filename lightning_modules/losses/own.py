"""A loss of the user's own in the place of a classification task's cross-entropy (``tasks.<name>.loss``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.plugins.registry import place_of
from experiments.schema import Task, TaskKind
from lightning_modules.losses.tasks import Term


class OwnLoss(nn.Module):
    """Ask a function for the loss of every label, or of every image, and leave out what is unknown.

    Args:
        loss: Called with logits (N, L) float32 and targets (N, L) float32, in which an unknown target (NaN) is 0.
            Returns losses (N, L), or (N,) of whole images; an image is known if all its labels are.
        task: The task, for messages.

    Example:
        >>> from torch.nn import BCEWithLogitsLoss
        >>> loss = OwnLoss(BCEWithLogitsLoss(reduction="none"), Task("covidx"))
        >>> loss(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [1.0, float("nan")]])).mean
        tensor(0.6931)
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], task: Task) -> None:
        super().__init__()
        self.loss = loss
        self.key = f"tasks.{task.name}.loss"
        self.softmax = task.kind is TaskKind.multiclass

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Term:
        """Return the sum over what is known, and its number.

        Args:
            logits: (N, L), any floating type.
            targets: (N, L), 1 / 0 / NaN = unknown.
            weights: (L,) class weights; None: 1 each.

        Raises:
            UserError: The function fails, or gives a tensor of another shape.
        """
        known = ~targets.isnan()
        filled = targets.nan_to_num().float()
        try:
            losses = self.loss(logits.float(), filled)
        except Exception as error:
            raise UserError(f"{self.key}: it fails{place_of(error)}: {error}") from error
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        if shape not in (tuple(logits.shape), (len(logits),)):
            raise UserError(
                f"{self.key}: gives {shape}; it must give the loss of each of {tuple(logits.shape)} labels, or of each "
                f"of {len(logits)} images (reduction='none')"
            )

        # an image's loss counts its class's weight, a label's its own
        count = torch.ones_like(filled) if weights is None else weights.expand_as(filled)
        if losses.ndim == 1:
            known = known.all(dim=1)
            count = (count * filled).sum(dim=1) if weights is not None and self.softmax else torch.ones_like(losses)
        elif self.softmax:
            known = known.all(dim=1, keepdim=True).expand_as(losses)
        total = (torch.where(known, losses, 0.0) * count).sum()
        divisor = (count * known).sum() if losses.ndim == 1 else known.sum().float()
        return Term(total, divisor)
