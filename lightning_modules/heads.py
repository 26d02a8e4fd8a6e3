"""The two heads (paper: Classification head, Bounding box detection head)."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, remove_small_boxes

from experiments.models.schema import BoxHeadSettings
from lightning_modules.box_codes import agreement, decode_boxes
from lightning_modules.networks.pyramid import anchor_sizes, build_pyramid

_RATIOS = (0.5, 1.0, 2.0)  # height / width
_PRIOR = 0.01  # objectness before training, so that the many empty anchors do not drown the start (RetinaNet)
_MATCH, _NO_MATCH = 0.5, 0.4  # IoU from which an anchor has a box, and below which it has none
BACKGROUND, NEITHER = -1, -2  # what :meth:`BoxHead.assign` says of the other anchors
_CANDIDATES = 1000  # boxes an image that enter the non-maximum suppression


class ClassificationHead(nn.Sequential):
    """Map the last feature map to logits (paper: Classification head).

    Transition convolution (3x3, BatchNorm, ReLU), global average pooling, linear prediction layer: a last map
    (N, channels, h, w) becomes logits (N, labels).

    Args:
        channels: Channels of the map.
        labels: Number of logits.
        transition_channels: Width of the transition convolution; the paper gives none.

    Example:
        >>> head = ClassificationHead(channels=8, labels=3, transition_channels=4)
        >>> head(torch.rand(2, 8, 5, 5)).shape
        torch.Size([2, 3])
    """

    def __init__(self, channels: int, labels: int, transition_channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, transition_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(transition_channels),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(transition_channels, labels),
        )


class BoxOutput(NamedTuple):
    """What the box head says about each of A anchors in N images.

    Attributes:
        deltas: (N, A, 4) float32, codes relative to the anchors (:mod:`.box_codes`).
        objectness: (N, A) float32 logits; None where the branch is off.
        anchors: (A, 4) float32, x1 y1 x2 y2 in input pixels.
        grids: Height and width of each level, whose anchors lie one level after the other, row by row.
    """

    deltas: Tensor
    objectness: Tensor | None
    anchors: Tensor
    grids: tuple[tuple[int, int], ...] = ()


class BoxHead(nn.Module):
    """Feature pyramid and box subnet (paper: Bounding box detection head); the objectness branch is our addition.

    The pyramid, and the anchors on its levels: :mod:`.pyramid`. One subnet is run on all levels.

    Args:
        channels: The maps' channels, fine to coarse.
        image_size: Side of the input images in pixels.
        settings: ``model.boxes``.
        strides: The maps' strides; None: 4, 8, 16 ...

    Example:
        >>> from experiments.models.schema import Pyramid
        >>> settings = BoxHeadSettings(channels=4, pyramid=Pyramid.torchvision)
        >>> head = BoxHead([4, 6], image_size=64, settings=settings)
        >>> output = head([torch.rand(2, 4, 4, 4), torch.rand(2, 6, 2, 2)])
        >>> output.deltas.shape  # (16 + 4) places with 4 sizes of 3 ratios
        torch.Size([2, 240, 4])
        >>> truth = torch.tensor([[8.0, 8.0, 24.0, 24.0]])
        >>> bool((head.assign(output.anchors, truth) == 0).any())
        True
    """

    def __init__(
        self, channels: list[int], image_size: int, settings: BoxHeadSettings, strides: list[int] | None = None
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.settings = settings

        # pyramid, and anchors on its levels
        strides = strides or [4 * 2**level for level in range(len(channels))]
        sizes = anchor_sizes(settings.pyramid, strides, image_size)
        self.pyramid = build_pyramid(settings.pyramid, channels, settings.channels)
        self.anchors = AnchorGenerator(tuple(sizes), (_RATIOS,) * len(sizes))

        # box subnet, objectness branch
        per_place = len(sizes[0]) * len(_RATIOS)
        self.boxes = _subnet(settings.channels, 4 * per_place)
        prior = -math.log((1 - _PRIOR) / _PRIOR)
        self.objects = _subnet(settings.channels, per_place, bias=prior) if settings.objectness else None

    def forward(self, maps: list[Tensor]) -> BoxOutput:
        """Return a code and an objectness for each anchor, of the base network's maps, fine to coarse."""
        levels = list(self.pyramid({str(index): m for index, m in enumerate(maps)}).values())
        deltas = torch.cat([_by_anchor(self.boxes(level), 4) for level in levels], dim=1).float()
        objectness = None
        if self.objects is not None:
            objectness = torch.cat([_by_anchor(self.objects(level), 1) for level in levels], dim=1).squeeze(2).float()
        grids = tuple((level.shape[2], level.shape[3]) for level in levels)
        return BoxOutput(deltas, objectness, self._anchors(levels), grids)

    def assign(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Return each anchor's box: its index, or background, or neither.

        IoU 0.5 and more match, below 0.4 is background; every box gets its best anchors in any case. Boxes under a
        pixel match nothing. This is torchvision's Matcher with masks instead of lists of indices, whose lengths the
        host would have to wait for in every step.

        Args:
            anchors: (A, 4) float, x1 y1 x2 y2 in pixels.
            boxes: (n, 4) float, in the same pixels; n may be 0.

        Returns:
            (A,) int64: an index in ``boxes``, :data:`BACKGROUND` (-1) or :data:`NEITHER` (-2).
        """
        if len(boxes) == 0:
            return torch.full((len(anchors),), BACKGROUND, device=anchors.device)

        # by overlap
        large = (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1, keepdim=True)
        overlap = box_iou(boxes, anchors).masked_fill(~large, -1)
        best, match = overlap.max(dim=0)
        by_overlap = match.masked_fill(best < _MATCH, NEITHER).masked_fill(best < _NO_MATCH, BACKGROUND)

        # each box's best anchors, however small the overlap
        best_of_a_box = ((overlap == overlap.amax(dim=1, keepdim=True)) & large).any(dim=0)
        return torch.where(best_of_a_box, match, by_overlap)

    @torch.no_grad()
    def decode(self, output: BoxOutput) -> list[dict[str, Tensor]]:
        """Return boxes after score threshold and non-maximum suppression, best first, as torchmetrics' mAP takes them.

        A box's score is its objectness; without that branch, as in the paper, the :func:`.agreement` of its anchor.

        Returns:
            An entry an image: ``boxes`` (n, 4) in input pixels, ``scores`` (n,) in 0-1, ``labels`` (n,) zeros. Of an
            image whose output is not finite everywhere: one box whose score is NaN, as :class:`.BoxScores` takes it.
        """
        if output.objectness is None:
            scores = agreement(decode_boxes(output.deltas, output.anchors), output.anchors, output.grids)
        else:
            scores = torch.where(output.objectness.isfinite(), output.objectness.sigmoid(), torch.nan)
        images = zip(output.deltas, scores, strict=True)
        return [self._decode_image(deltas, own, output.anchors) for deltas, own in images]

    def _decode_image(self, deltas: Tensor, scores: Tensor, anchors: Tensor) -> dict[str, Tensor]:
        if not (deltas.isfinite().all() and scores.isfinite().all()):
            boxes = deltas.new_zeros((1, 4))
            return {"boxes": boxes, "scores": boxes[:, 0] + torch.nan, "labels": boxes[:, 0].long()}

        # the best candidates above the threshold
        scores, best = scores.topk(min(_CANDIDATES, len(scores)))
        best = best[scores >= self.settings.score_threshold]
        boxes = decode_boxes(deltas[best], anchors[best])

        # inside the image, a pixel large, each opacity once
        boxes = clip_boxes_to_image(boxes, (self.image_size, self.image_size))
        large = remove_small_boxes(boxes, 1.0)
        boxes, scores = boxes[large], scores[: len(best)][large]
        labels = torch.zeros_like(scores, dtype=torch.int64)
        chosen = batched_nms(boxes, scores, labels, self.settings.nms_iou)[: self.settings.max_boxes]
        return {"boxes": boxes[chosen], "scores": scores[chosen], "labels": labels[chosen]}

    def _anchors(self, levels: list[Tensor]) -> Tensor:
        # The generator reads shapes and dtype alone: float32, since bfloat16 cannot tell neighbouring pixels apart.
        image = torch.empty(1, 1, self.image_size, self.image_size, device="meta")
        shapes = [level.new_empty((1, 1, *level.shape[-2:]), dtype=torch.float32) for level in levels]
        return self.anchors(ImageList(image, [(self.image_size, self.image_size)]), shapes)[0]


def _subnet(channels: int, outputs: int, bias: float = 0.0) -> nn.Sequential:
    """Four convolutions with ReLU, one without; initialised as RetinaNet's (Lin et al., 2017)."""
    widths = [channels, channels, channels, channels, outputs]
    convolutions = [nn.Conv2d(channels, width, 3, padding=1) for width in widths]
    for convolution in convolutions:
        nn.init.normal_(convolution.weight, std=0.01)
        nn.init.constant_(cast(Tensor, convolution.bias), bias if convolution is convolutions[-1] else 0.0)
    layers = [layer for convolution in convolutions for layer in (convolution, nn.ReLU(inplace=True))]
    return nn.Sequential(*layers[:-1])


def _by_anchor(level: Tensor, values: int) -> Tensor:
    """(N, anchors * values, H, W) to (N, H * W * anchors, values), the anchor generator's order."""
    n, _, height, width = level.shape
    return level.view(n, -1, values, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, values)
