"""The task losses (paper: Table 3).

Unknown targets (NaN) never enter a loss. A batch in which nothing is known gives ``0 * output.sum()`` in effect: zero,
and a zero gradient for every parameter, so that DDP never waits for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_area, sigmoid_focal_loss

from lightning_modules.heads import NEITHER, BoxHead, BoxOutput


class Term(NamedTuple):
    """A sum and the number of its summands: over batches and processes the mean stays exact however they are cut.

    Attributes:
        total: Scalar float32.
        count: Scalar float32.
    """

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """Zero where there is no summand."""
        return self.total / self.count.clamp(min=1)


class BoxTerms(NamedTuple):
    """The parts of the box loss, and the overlap it reaches.

    Attributes:
        regression: Least squares over the matched anchors.
        objectness: Focal loss over the images; None where the branch is off.
        iou: IoU of the predicted boxes with their targets over the matched anchors, detached.
    """

    regression: Term
    objectness: Term | None
    iou: Term


def multilabel(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Term:
    """Sigmoid cross-entropy over the known labels.

    Args:
        logits: (N, L).
        targets: (N, L), 1 / 0 / NaN = unknown.
        weights: (L,) class weights: a weight of 2 counts a label's loss twice; None: 1 each.
    """
    known = ~targets.isnan()
    # NaN is replaced before the loss: behind a mask its gradient would still be NaN.
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets.nan_to_num(0.0).float(), reduction="none")
    if weights is not None:
        losses = losses * weights
    return Term((losses * known).sum(), known.sum().float())


def multiclass(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Term:
    """Softmax cross-entropy over the images whose class is known.

    Args:
        logits: (N, L).
        targets: (N, L) one-hot; a row with a NaN is unknown.
        weights: (L,) class weights: an image of a class of weight 2 counts twice; None: 1 each.
    """
    known = ~targets.isnan().any(dim=1)
    losses = -targets.nan_to_num(0.0).float() * logits.float().log_softmax(dim=1)
    if weights is not None:
        losses = losses * weights
    return Term((losses.sum(dim=1) * known).sum(), known.sum().float())


def boxes(head: BoxHead, output: BoxOutput, targets: Sequence[Tensor]) -> BoxTerms:
    """Least squares on the codes of the matched anchors, and the focal loss of the objectness.

    The residual's squared norm over the four codes is averaged over the matched anchors; the focal loss of an image is
    divided by its matched anchors (at least 1) and averaged over the images, as in RetinaNet.

    Args:
        head: The head that gave the output: its assignment and coder.
        output: For N images.
        targets: N tensors (n_i, 4) of boxes in input pixels; boxes under a pixel are left out.
    """
    matches, goals = [], []
    for truth in targets:
        truth = truth.to(output.anchors)
        match = head.assign(output.anchors, truth)
        matches.append(match)
        matching = torch.where(match[:, None] >= 0, truth[match.clamp(min=0)], output.anchors) if len(truth) else None
        goals.append(output.anchors if matching is None else matching)
    match, goal = torch.stack(matches), torch.stack(goals)
    matched = match >= 0
    codes = torch.stack([head.coder.encode_single(image, output.anchors) for image in goal])
    count = matched.sum().float()
    squares = (output.deltas - codes).square().sum(dim=2)
    regression = Term((squares * matched).sum(), count)
    objectness = None
    if output.objectness is not None:
        focal = sigmoid_focal_loss(output.objectness, matched.float()) * (match != NEITHER)
        per_image = focal.sum(dim=1) / matched.sum(dim=1).clamp(min=1)
        objectness = Term(per_image.sum(), torch.full_like(count, len(match)))
    return BoxTerms(regression, objectness, Term((_iou(head, output, goal) * matched).sum(), count))


def weight_penalty(head: BoxHead) -> Tensor:
    """R of the regularised least squares (Table 3): the sum of the squared weights of the box subnet."""
    return torch.stack([layer.weight.square().sum() for layer in head.boxes if isinstance(layer, nn.Conv2d)]).sum()


@torch.no_grad()
def _iou(head: BoxHead, output: BoxOutput, goal: Tensor) -> Tensor:
    """(N, A) IoU of every anchor's predicted box with its target."""
    n = len(goal)
    predicted = head.coder.decode_single(output.deltas.flatten(0, 1), output.anchors.repeat(n, 1))
    wanted = goal.flatten(0, 1)
    overlap = torch.minimum(predicted[:, 2:], wanted[:, 2:]) - torch.maximum(predicted[:, :2], wanted[:, :2])
    common = overlap.clamp(min=0).prod(dim=1)
    return (common / (box_area(predicted) + box_area(wanted) - common).clamp(min=1e-6)).view(n, -1)
