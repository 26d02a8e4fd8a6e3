"""The task losses (paper: Table 3).

Unknown targets (NaN) never enter a loss. A batch in which nothing is known gives ``0 * output.sum()`` in effect: zero,
and a zero gradient for every parameter, so that DDP never waits for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from lightning_modules.box_codes import decode_boxes, encode_boxes, paired_iou
from lightning_modules.heads import NEITHER, BoxHead, BoxOutput


class Term(NamedTuple):
    """A sum and the weight of its summands: over batches and processes the mean stays exact however they are cut.

    Attributes:
        total: Scalar float32.
        count: Scalar float32: the number of summands, or the sum of their class weights.
    """

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean, a scalar; zero, and a zero gradient, where there is no summand."""
        return self.total / torch.where(self.count > 0, self.count, 1.0)


def share_counts(terms: dict[str, Term]) -> dict[str, Term]:
    """Return the terms of this process with the processes' mean counts, so that all summands weigh the same.

    DDP averages the processes' gradients. If each divided by its own count, a label that is known would weigh more on a
    process that knows few. All processes must call this together; alone, a process gets its terms back.

    Args:
        terms: Of a training batch, by key.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return terms
    counts = torch.stack([term.count for term in terms.values()])
    dist.all_reduce(counts)
    shared = (counts / dist.get_world_size()).unbind()
    return {key: Term(term.total, count) for (key, term), count in zip(terms.items(), shared, strict=True)}


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


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Term:
    """Return the cross-entropy of a sigmoid a label, over the known labels (``kind: multilabel``).

    Args:
        logits: (N, L), any floating type.
        targets: (N, L), 1 / 0 / NaN = unknown.
        weights: (L,) class weights: a weight of 2 counts a label's loss twice, as ``weight`` of
            torch.nn.BCEWithLogitsLoss; None: 1 each.

    Returns:
        The sum over the known labels, and their number.

    Example:
        At a logit of 0 each known label costs ln 2; the unknown one costs nothing.

        >>> term = sigmoid_cross_entropy(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [1.0, float("nan")]]))
        >>> term.mean, term.count
        (tensor(0.6931), tensor(3.))
    """
    known = ~targets.isnan()
    # NaN is replaced before the loss: behind a mask its gradient would still be NaN.
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets.nan_to_num().float(), reduction="none")
    if weights is not None:
        losses = losses * weights
    return Term((losses * known).sum(), known.sum().float())


def softmax_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Term:
    r"""Return the cross-entropy of a softmax, over the images whose class is known (``kind: multiclass``).

    .. math:: \text{mean} = \frac{\sum_i w_{y_i} \cdot -\log p_{i, y_i}}{\sum_i w_{y_i}}

    The weighted mean of torch.nn.CrossEntropyLoss. It is that of a batch: under several processes each has its own
    images' and the gradients' mean is taken, as with torch's loss under DDP; of accumulated batches the mean of theirs.
    An epoch's loss is the weighted mean over all its images.

    Args:
        logits: (N, L), any floating type.
        targets: (N, L) one-hot; a row with a NaN is unknown.
        weights: (L,) class weights w: an image of a class of weight 2 counts twice; None: 1 each.

    Returns:
        The weighted sum over the known images, and the sum of their weights.

    Example:
        >>> term = softmax_cross_entropy(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
        >>> term.mean  # ln 3
        tensor(1.0986)
    """
    known = ~targets.isnan().any(dim=1)
    classes = targets.nan_to_num().float() * known[:, None]
    if weights is not None:
        classes = classes * weights
    return Term(-(classes * logits.float().log_softmax(dim=1)).sum(), classes.sum())


def box_terms(head: BoxHead, output: BoxOutput, targets: Sequence[Tensor]) -> BoxTerms:
    """Return the least squares on the codes of the matched anchors, and the focal loss of the objectness.

    The residual's squared norm over the four codes is averaged over the matched anchors; the focal loss of an image is
    divided by its matched anchors (at least 1) and averaged over the images, as in RetinaNet (Lin et al., ICCV 2017).

    Args:
        head: The head that gave the output: its assignment of anchors to boxes.
        output: For N images.
        targets: N tensors (n_i, 4) of boxes in input pixels, n_i >= 0; boxes under a pixel are left out.

    Example:
        Of two anchors the first one's box is moved by a tenth of its width.

        >>> from experiments.models.schema import BoxHeadSettings
        >>> head = BoxHead([4], image_size=64, settings=BoxHeadSettings(channels=4))
        >>> anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [40.0, 40.0, 60.0, 60.0]])
        >>> output = BoxOutput(torch.zeros(1, 2, 4), None, anchors)
        >>> terms = box_terms(head, output, [torch.tensor([[2.0, 0.0, 22.0, 20.0]])])
        >>> terms.regression.mean, terms.iou.mean  # 0.1 squared; 18 / 22
        (tensor(0.0100), tensor(0.8182))
    """
    # each anchor's box; an anchor without one is its own goal, at no cost
    matches, goals = [], []
    for boxes in targets:
        boxes = boxes.to(output.anchors)
        match = head.assign(output.anchors, boxes)
        has_box = match[:, None] >= 0
        matches.append(match)
        goals.append(torch.where(has_box, boxes[match.clamp(min=0)], output.anchors) if len(boxes) else output.anchors)
    match, goal = torch.stack(matches), torch.stack(goals)
    matched = match >= 0
    count = matched.sum().float()

    # least squares (Table 3), and the overlap
    squares = (output.deltas - encode_boxes(goal, output.anchors)).square().sum(dim=2)
    regression = Term((squares * matched).sum(), count)
    iou = Term((_overlap(output, goal) * matched).sum(), count)
    if output.objectness is None:
        return BoxTerms(regression, None, iou)

    # objectness
    focal = sigmoid_focal_loss(output.objectness, matched.float()) * (match != NEITHER)
    per_image = focal.sum(dim=1) / matched.sum(dim=1).clamp(min=1)
    return BoxTerms(regression, Term(per_image.sum(), torch.full_like(count, len(match))), iou)


def weight_penalty(head: BoxHead) -> Tensor:
    """Return R of the regularised least squares (Table 3), a scalar: the sum of the box subnet's squared weights."""
    return torch.stack([layer.weight.square().sum() for layer in head.boxes if isinstance(layer, nn.Conv2d)]).sum()


@torch.no_grad()
def _overlap(output: BoxOutput, goal: Tensor) -> Tensor:
    """(N, A) IoU of every anchor's predicted box with its goal."""
    return paired_iou(decode_boxes(output.deltas, output.anchors), goal)
