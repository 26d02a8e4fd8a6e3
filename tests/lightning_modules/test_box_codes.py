from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from lightning_modules.box_codes import decode_boxes, encode_boxes


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
