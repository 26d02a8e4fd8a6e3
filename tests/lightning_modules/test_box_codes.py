from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from lightning_modules.box_codes import agreement, decode_boxes, encode_boxes


def boxes(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, generator=generator) * 400
    return torch.cat([corners, corners + 10 + torch.rand(n, 2, generator=generator) * 90], dim=1)


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_codes_are_torchvisions(seed, n):
    coder, truth, anchors = BoxCoder((1.0, 1.0, 1.0, 1.0)), boxes(n, seed), boxes(n, seed + 1)
    codes = encode_boxes(truth, anchors)
    assert torch.equal(codes, coder.encode_single(truth, anchors))
    torch.testing.assert_close(decode_boxes(codes, anchors), truth, atol=1e-3, rtol=1e-5)
    wild = 4 * torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))  # some beyond the largest size
    assert torch.equal(decode_boxes(wild, anchors), coder.decode_single(wild, anchors))


def test_several_images_share_their_anchors():
    truth, anchors = boxes(6, 0).view(2, 3, 4), boxes(3, 1)
    codes = encode_boxes(truth, anchors)
    assert torch.equal(codes[1], encode_boxes(truth[1], anchors))
    torch.testing.assert_close(decode_boxes(codes, anchors), truth, atol=1e-3, rtol=1e-5)


def test_sizes_are_bounded():
    anchor = torch.tensor([[0.0, 0, 16, 16]])
    torch.testing.assert_close(
        decode_boxes(torch.tensor([[0.0, 0, 99, 99]]), anchor), torch.tensor([[-492.0, -492, 508, 508]])
    )


def test_agreement_by_hand():
    """A row of three anchors of width 4 and stride 2 (IoU of neighbours 1/3), and a level of one cell."""
    anchors = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [0, 0, 9, 9]])
    boxes = anchors[None].repeat(2, 1, 1)
    boxes[0, :2] = torch.tensor([1.0, 0, 5, 4])  # the first two agree; the third has an IoU of 1/7 with them
    scores = agreement(boxes, anchors, [(1, 3), (1, 1)])
    torch.testing.assert_close(scores[0], torch.tensor([1.0, 0.5, 0.0, 0.0]))
    assert torch.equal(scores[1], torch.zeros(4))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_agreement_is_that_of_each_anchors_neighbours(seed, per_cell, height, width):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, height, width, per_cell, 2, generator=generator) * 9
    boxes, anchors = torch.cat([corners, corners + 1 + torch.rand(corners.shape, generator=generator)], dim=-1)
    found = agreement(boxes.reshape(1, -1, 4), anchors.reshape(-1, 4), [(height, width)]).reshape(height, width, -1)
    for y, x, k in np.ndindex(height, width, per_cell):
        gains = []
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                there = y + dy, x + dx, k
                moved, base = (float(box_iou(of[y, x, k][None], of[there][None])) for of in (boxes, anchors))
                gains.append(max((moved - base) / max(1 - base, 1e-6), 0))
        assert float(found[y, x, k]) == pytest.approx(np.mean(gains) if gains else 0, abs=1e-4)
