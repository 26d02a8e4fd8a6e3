from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.ops import FeaturePyramidNetwork, box_iou

from experiments.models.schema import BoxHeadSettings, Pyramid
from lightning_modules.box_codes import encode_boxes
from lightning_modules.heads import BoxHead, BoxOutput, ClassificationHead


def maps(channels, side=16):
    return [torch.rand(2, c, side >> i, side >> i) for i, c in enumerate(channels)]


def test_classification_head():
    head = ClassificationHead(8, 3, 5)
    assert [type(layer).__name__ for layer in head] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear",
    ]
    assert head(torch.rand(2, 8, 4, 4)).shape == (2, 3)
    convolution, norm, linear = head[0], head[1], head[5]
    assert (convolution.kernel_size, convolution.padding, convolution.bias) == ((3, 3), (1, 1), None)
    assert (convolution.in_channels, convolution.out_channels, norm.num_features) == (8, 5, 5)
    assert (linear.in_features, linear.out_features) == (5, 3)
    assert linear.bias is not None


@pytest.mark.parametrize("pyramid", list(Pyramid))
@pytest.mark.parametrize("channels", [[6], [4, 6], [4, 6, 8], [4, 6, 8, 10]])
def test_box_head_takes_as_many_maps_as_there_are(channels, pyramid):
    head = BoxHead(channels, 64, BoxHeadSettings(channels=4, pyramid=pyramid))
    assert isinstance(head.pyramid, FeaturePyramidNetwork)
    output = head(maps(channels))
    assert output.deltas.shape == (2, len(output.anchors), 4)
    assert output.objectness.shape == (2, len(output.anchors))


@pytest.mark.parametrize("channels", [[6], [4, 6], [4, 6, 8], [4, 6, 8, 10]])
def test_anchors_of_the_plain_pyramid_are_as_large_as_opacities(channels):
    head = BoxHead(channels, 64, BoxHeadSettings(channels=4, pyramid=Pyramid.torchvision))
    output = head(maps(channels))
    sides = (output.anchors[:, 2:] - output.anchors[:, :2]).prod(dim=1).sqrt() / 64
    assert sides.min() < 0.08  # opacities of 6-60 % of the side
    assert 0.55 < sides.max() < 0.65


@pytest.mark.parametrize("pyramid", list(Pyramid))
@pytest.mark.parametrize("side", [0.08, 0.12, 0.2, 0.3, 0.45])
@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.5])
def test_every_opacity_has_a_good_anchor(side, ratio, pyramid):
    head = BoxHead([4, 4, 4, 4], 512, BoxHeadSettings(channels=4, pyramid=pyramid))
    anchors = head(maps([4, 4, 4, 4], side=128)).anchors
    half = torch.tensor([1 / ratio**0.5, ratio**0.5]) * side * 512 / 2
    centre = torch.tensor([201.0, 263.0])
    assert box_iou(torch.cat([centre - half, centre + half])[None], anchors).max() > 0.5


def test_codes_are_in_the_order_of_the_anchors():
    """A code for one place of one level moves the anchor that lies there."""
    head = BoxHead([4], 64, BoxHeadSettings(channels=4, objectness=False))
    torch.nn.init.zeros_(head.boxes[-1].weight)
    level = torch.rand(1, 4, 8, 8)
    per_place = head.boxes[-1].out_channels // 4
    head.boxes[-1].bias.data = torch.arange(per_place * 4.0)
    output = head([level])
    assert torch.equal(output.deltas[0, :per_place].flatten(), torch.arange(per_place * 4.0))
    head.boxes[-1].weight.data[0] = 1.0  # the first code of the first anchor now differs from place to place
    values = head.boxes(head.pyramid({"0": level})["0"])[0, 0].flatten()
    torch.testing.assert_close(head([level]).deltas[0, ::per_place, 0], values)
    centres = (output.anchors[:, :2] + output.anchors[:, 2:]) / 2
    torch.testing.assert_close(centres[per_place], torch.tensor([8.0, 0.0]))  # the next place: to the right


def test_decode_gives_back_the_boxes():
    head = BoxHead([4], 64, BoxHeadSettings(channels=4, max_boxes=2))
    output = head([torch.rand(2, 4, 8, 8)])
    truth = torch.tensor([[10.0, 12, 30, 40], [35, 20, 60, 50]])
    match = head.assign(output.anchors, truth)
    codes = encode_boxes(truth[match.clamp(min=0)], output.anchors)
    objectness = torch.where(match >= 0, 3.0, -9.0)
    empty = torch.full_like(objectness, -9.0)
    found, nothing = head.decode(BoxOutput(codes.expand(2, -1, -1), torch.stack([objectness, empty]), output.anchors))
    boxes = found["boxes"][found["boxes"][:, 0].argsort()]
    torch.testing.assert_close(boxes, truth)
    torch.testing.assert_close(found["scores"], torch.full((2,), 3.0).sigmoid())
    assert found["labels"].tolist() == [0, 0]
    assert nothing["boxes"].shape == (0, 4)


@pytest.mark.parametrize("pyramid", list(Pyramid))
def test_without_objectness_boxes_are_ranked_by_agreement(pyramid):
    """The anchors that match a box are moved onto it, all others stay: its box is found, and first."""
    head = BoxHead([4, 4, 4], 128, BoxHeadSettings(channels=4, objectness=False, pyramid=pyramid))
    output = head(maps([4, 4, 4], side=32))
    assert head.objects is None
    assert output.objectness is None
    truth = torch.tensor([[40.0, 44, 90, 100]])
    on_it = (head.assign(output.anchors, truth) == 0)[:, None]
    deltas = torch.where(on_it, encode_boxes(truth, output.anchors), 0.0)
    still = torch.zeros_like(deltas)
    found, nothing = head.decode(output._replace(deltas=torch.stack([deltas, still])))
    assert float(box_iou(found["boxes"][:1], truth)) > 0.99
    assert 0.2 < float(found["scores"][0]) <= 1
    assert len(nothing["boxes"]) == 0


def decoded(anchors, objectness, *, image_size=64, deltas=None, **settings):
    """Boxes of one image whose anchors, if nothing else is said, stay where they are."""
    head = BoxHead([4], image_size, BoxHeadSettings(channels=4, **settings))
    anchors = torch.tensor(anchors, dtype=torch.float32)
    deltas = torch.zeros(1, len(anchors), 4) if deltas is None else deltas
    return head.decode(BoxOutput(deltas, torch.tensor([objectness]), anchors))[0]


def test_boxes_below_the_score_are_left_out():
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]
    found = decoded(boxes, [0.0, -1e-3, 2.0], score_threshold=0.5)
    assert found["boxes"].tolist() == [boxes[2], boxes[0]]  # the best first; 0.5 itself is enough
    assert found["scores"].tolist() == pytest.approx([0.8808, 0.5], abs=1e-4)
    assert found["labels"].tolist() == [0, 0]
    assert found["labels"].dtype == torch.int64


def test_of_boxes_that_overlap_more_than_nms_iou_the_best_is_kept():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 6]]  # IoU 0.6
    assert decoded(boxes, [0.0, 1.0], nms_iou=0.5)["boxes"].tolist() == [boxes[1]]
    assert len(decoded(boxes, [0.0, 1.0], nms_iou=0.7)["boxes"]) == 2


def test_no_more_than_max_boxes_are_kept():
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]
    assert decoded(boxes, [0.0, 1.0, 2.0], max_boxes=2)["boxes"].tolist() == [boxes[2], boxes[1]]


def test_boxes_end_at_the_image_and_those_under_a_pixel_are_left_out():
    boxes = [[50, -20, 90, 30], [63.5, 40, 80, 60], [63, 40, 80, 60], [20, 63.25, 40, 90]]
    found = decoded(boxes, [2.0, 1.5, 1.0, 0.5])
    assert found["boxes"].tolist() == [[50, 0, 64, 30], [63, 40, 64, 60]]
    assert found["scores"].tolist() == pytest.approx([0.8808, 0.7311], abs=1e-4)


def test_a_thousand_candidates_are_looked_at():
    """Of 1,024 boxes that do not touch each other, the 24 of the smallest scores are no candidates."""
    corners = 3.0 * torch.cartesian_prod(torch.arange(32), torch.arange(32))
    boxes = torch.cat([corners, corners + 2], dim=1)
    found = decoded(boxes.tolist(), torch.linspace(3, 0, 1024).tolist(), image_size=128, max_boxes=2000)
    assert torch.equal(found["boxes"], boxes[:1000])


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_an_image_without_numbers_has_one_box_without_a_score(broken):
    """Whether it is the code or the objectness of a single anchor."""
    boxes = [[0.0, 0, 10, 10], [20, 20, 30, 30]]
    deltas = torch.zeros(1, 2, 4)
    deltas[0, 1, 3] = broken
    for found in (decoded(boxes, [0.0, 0.0], deltas=deltas), decoded(boxes, [0.0, broken])):
        assert found["boxes"].tolist() == [[0, 0, 0, 0]]
        assert found["scores"].isnan().tolist() == [True]
        assert found["labels"].tolist() == [0]
        assert found["labels"].dtype == torch.int64


def test_a_new_box_head_says_that_there_is_hardly_anything():
    """The objectness begins at 0.01, all codes near 0; weights with a standard deviation of 0.01 (RetinaNet)."""
    torch.manual_seed(0)
    head = BoxHead([8], 64, BoxHeadSettings(channels=64))
    output = head([torch.zeros(1, 8, 8, 8)])
    torch.testing.assert_close(output.objectness.sigmoid(), torch.full_like(output.objectness, 0.01), atol=1e-3, rtol=0)
    for subnet, last in ((head.boxes, 0.0), (head.objects, -4.59512)):
        convolutions = [layer for layer in subnet if isinstance(layer, torch.nn.Conv2d)]
        assert [type(layer).__name__ for layer in subnet] == [*["Conv2d", "ReLU"] * 4, "Conv2d"]
        for convolution in convolutions:
            assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert convolution.weight.mean().item() == pytest.approx(0, abs=1e-3)
            bias = torch.full_like(convolution.bias, last if convolution is convolutions[-1] else 0.0)
            torch.testing.assert_close(convolution.bias, bias)


def test_strides_are_4_and_its_doubles_unless_told():
    settings = BoxHeadSettings(channels=4, pyramid=Pyramid.paper)
    plain, told, other = (BoxHead([4, 6], 64, settings, strides) for strides in (None, [4, 8], [8, 16]))
    assert plain.anchors.sizes == told.anchors.sizes != other.anchors.sizes
    assert set(plain.anchors.aspect_ratios) == {(0.5, 1.0, 2.0)}


def test_levels_are_said_with_their_grids():
    output = BoxHead([4, 6], 64, BoxHeadSettings(channels=4))([torch.rand(1, 4, 16, 8), torch.rand(1, 6, 8, 4)])
    assert output.grids[:2] == ((16, 8), (8, 4))
    per_place = len(output.anchors) // sum(height * width for height, width in output.grids)
    assert len(output.anchors) == per_place * sum(height * width for height, width in output.grids)


def test_a_box_at_the_edges_of_the_overlaps_is_matched_background_or_neither():
    """IoU 0.5 matches, 0.4 is neither, less is background; beside the box's best anchor."""
    head = BoxHead([4], 64, BoxHeadSettings(channels=4))
    anchors = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 10], [0, 0, 20, 8], [0, 0, 20, 7.9], [40, 40, 50, 50]])
    assert head.assign(anchors, torch.tensor([[0.0, 0, 20, 20]])).tolist() == [0, 0, -2, -1, -1]
    pixel = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.99, 20]])  # a pixel is one, less is none
    assert head.assign(anchors, pixel).tolist() == [-1, -1, -1, 0, -1]


def test_every_box_has_an_anchor_and_no_box_has_none():
    head = BoxHead([4], 64, BoxHeadSettings(channels=4))
    anchors = head([torch.rand(1, 4, 8, 8)]).anchors
    slit = torch.tensor([[3.0, 3, 6, 60], [30, 30, 50, 50]])
    assert set(head.assign(anchors, slit).tolist()) >= {0, 1}
    assert head.assign(anchors, torch.zeros(0, 4)).eq(-1).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_matches_are_torchvisions(seed, n):
    head = BoxHead([4], 64, BoxHeadSettings(channels=4))
    anchors = head([torch.rand(1, 4, 8, 8)]).anchors
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 50, (n, 2), generator=generator).float()
    boxes = torch.cat([corners, corners + torch.randint(1, 30, (n, 2), generator=generator)], dim=1)
    matcher = Matcher(high_threshold=0.5, low_threshold=0.4, allow_low_quality_matches=True)
    expected = matcher(box_iou(boxes, anchors))
    assert torch.equal(head.assign(anchors, boxes), expected)
    tiny = torch.cat([boxes, boxes[:1, [0, 1, 0, 1]] + torch.tensor([0, 0, 0.5, 9])])
    assert torch.equal(head.assign(anchors, tiny), expected)


def test_float32_out_under_bfloat16():
    head = BoxHead([4, 4], 512, BoxHeadSettings(channels=4))
    plain = head(maps([4, 4], side=64)).anchors
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(maps([4, 4], side=64))
    assert {output.deltas.dtype, output.objectness.dtype, output.anchors.dtype} == {torch.float32}
    assert torch.equal(output.anchors, plain)
