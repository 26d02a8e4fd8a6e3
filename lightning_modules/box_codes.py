"""Boxes as offsets from anchors, the regression targets of the box head (Girshick et al., R-CNN, CVPR 2014, Eq. 1-4).

A box with centre x, y and sides w, h is coded against an anchor x_a, y_a, w_a, h_a as

    dx = (x - x_a) / w_a,   dy = (y - y_a) / h_a,   dw = ln(w / w_a),   dh = ln(h / h_a)

These are the numbers of torchvision's BoxCoder with weights of 1, whose module is private.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LARGEST = math.log(1000 / 16)  # a box is at most 62.5 times as wide or high as its anchor, so that exp stays finite


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the codes of boxes relative to anchors.

    Args:
        boxes: (..., 4) float, x1 y1 x2 y2 in pixels, wider and higher than 0.
        anchors: (..., 4) float, of a shape that broadcasts with ``boxes``.

    Returns:
        (..., 4) float: dx dy dw dh.

    Example:
        >>> anchor = torch.tensor([0.0, 0.0, 20.0, 20.0])
        >>> encode_boxes(torch.tensor([2.0, 0.0, 22.0, 20.0]), anchor)  # moved by a tenth of the width
        tensor([0.1000, 0.0000, 0.0000, 0.0000])
    """
    centres, sides = _centres_and_sides(boxes)
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    return torch.cat([(centres - anchor_centres) / anchor_sides, (sides / anchor_sides).log()], dim=-1)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes that codes stand for, the inverse of :func:`encode_boxes`.

    Args:
        codes: (..., 4) float: dx dy dw dh.
        anchors: (..., 4) float, x1 y1 x2 y2 in pixels, of a shape that broadcasts with ``codes``.

    Returns:
        (..., 4) float: x1 y1 x2 y2 in pixels, at most 62.5 times as wide or high as their anchors.

    Example:
        >>> anchor = torch.tensor([0.0, 0.0, 20.0, 20.0])
        >>> decode_boxes(torch.tensor([0.1, 0.0, 0.0, 0.0]), anchor)
        tensor([ 2.,  0., 22., 20.])
    """
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    centres = codes[..., :2] * anchor_sides + anchor_centres
    half = 0.5 * (codes[..., 2:].clamp(max=_LARGEST).exp() * anchor_sides)
    return torch.cat([centres - half, centres + half], dim=-1)


def agreement(boxes: Tensor, anchors: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
    r"""Return how far neighbouring anchors agree on one box: a score of boxes from the regression alone.

    .. math:: \frac{1}{|N|} \sum_{j \in N} \frac{\text{IoU}(b_i, b_j) - \text{IoU}(a_i, a_j)}{1 - \text{IoU}(a_i, a_j)}

    Where :math:`b` are the boxes of the anchors :math:`a`, and N the anchors of the same size and shape in the cells
    above, below, left and right. On an object all of them are moved onto its box, where there is none they stay apart:
    1 is full agreement, 0 what the anchors have without being moved. It is our choice: paper 000 has no branch that
    says whether there is a box, and says nothing of how its boxes are ranked.

    Args:
        boxes: (N, A, 4) float, x1 y1 x2 y2 in pixels.
        anchors: (A, 4) float.
        grids: Height and width of each level; a level's anchors lie row by row, those of a cell one after the other.

    Returns:
        (N, A) float in [0, 1]; 0 on a level of one cell.

    Example:
        Two anchors side by side, moved onto one box; then left where they are.

        >>> anchors = torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0]])
        >>> agreement(anchors[:1].expand(1, 2, 4), anchors, [(1, 2)]), agreement(anchors[None], anchors, [(1, 2)])
        (tensor([[1., 1.]]), tensor([[0., 0.]]))
    """
    cells = sum(height * width for height, width in grids)
    per_cell, scores, start = len(anchors) // cells, [], 0
    for height, width in grids:
        stop = start + height * width * per_cell
        shape = (height, width, per_cell)
        own, still = boxes[:, start:stop].unflatten(1, shape), anchors[None, start:stop].unflatten(1, shape)

        # each pair of neighbours counts for both
        total, count = own.new_zeros(own.shape[:-1]), own.new_zeros(own.shape[1:-1])
        for axis, length in ((1, height), (2, width)):
            first, second = (slice(0, length - 1), slice(1, length))
            pairs = [(_take(of, axis, first), _take(of, axis, second)) for of in (own, still)]
            moved, base = (paired_iou(*pair) for pair in pairs)
            gain = ((moved - base) / (1 - base).clamp(min=1e-6)).clamp(min=0)
            for part in (first, second):
                _take(total, axis, part).add_(gain)
                _take(count[None], axis, part).add_(1)
        scores.append((total / count.clamp(min=1)).flatten(1))
        start = stop
    return torch.cat(scores, dim=1)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each box with the other at its place.

    Args:
        boxes: (..., 4) float, x1 y1 x2 y2 in pixels.
        others: (..., 4) float.

    Returns:
        (...) float in [0, 1].

    Example:
        >>> paired_iou(torch.tensor([0.0, 0.0, 4.0, 4.0]), torch.tensor([2.0, 0.0, 6.0, 4.0]))
        tensor(0.3333)
    """
    shared = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    common = shared.clamp(min=0).prod(dim=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(dim=-1) for each in (boxes, others)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-6)


def _take(values: Tensor, axis: int, part: slice) -> Tensor:
    """A view of a part of one axis."""
    return values.narrow(axis, part.start, part.stop - part.start)


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides
