"""Boxes as offsets from anchors, the regression targets of the box head (Girshick et al., R-CNN, CVPR 2014, Eq. 1-4).

A box with centre x, y and sides w, h is coded against an anchor x_a, y_a, w_a, h_a as

    dx = (x - x_a) / w_a,   dy = (y - y_a) / h_a,   dw = ln(w / w_a),   dh = ln(h / h_a)

These are the numbers of torchvision's BoxCoder with weights of 1, whose module is private.
"""

from __future__ import annotations

import math

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


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides
