"""Predicted boxes outside the lungs: OLS of a box task, each box being a region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metrics.saliency import OutOfLungSaliency


class BoxesOutOfLungs(OutOfLungSaliency):
    r"""Compute the share of predicted boxes that lie outside the lungs.

    .. math:: \frac{100}{N} \sum_b^N 1\Big(\frac{|b \cap \text{lung}|}{|b|} < \eta\Big)

    The OLS score (:class:`.OutOfLungSaliency`; COVIDMT paper, Eqs. 3 and 4) with every predicted box b for a heat-map
    region: an opacity of the lungs that is marked in the neck is wrong, whatever the true boxes are. N are the boxes of
    all images with lungs; those of images in which no lung was found are counted as ``no_lung``. A box that is no
    finite number has no region.

    As input to ``update`` the metric accepts

    - ``predictions``: one dictionary per image with ``boxes``, (n, 4) float xyxy in pixels, and ``scores``, (n,);
    - ``lung``: (N, H, W) bool, the lung masks.

    As output of ``compute`` it returns what :class:`.OutOfLungSaliency` does, boxes in place of images.

    Args:
        score: Boxes of at least this score count.
        eta: Share inside the lungs below which a box is outside, in [0, 1].

    Example:
        The lungs are the left half. One box lies in them, one beside them; a third has too low a score to count.

        >>> lung = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> lung[..., :4] = True
        >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [5.0, 0.0, 8.0, 4.0], [5.0, 5.0, 8.0, 8.0]])
        >>> metric = BoxesOutOfLungs()
        >>> metric.update([{"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.1])}], lung)
        >>> scores = metric.compute()
        >>> scores["score"], scores["n"]
        (50.0, 2)
    """

    def __init__(self, score: float = 0.5, eta: float = 0.4) -> None:
        super().__init__(eta)
        self.score = score

    def update(  # ty: ignore[incompatible-method-override]  # each metric has its own input, as all torchmetrics
        self, predictions: Sequence[dict[str, Tensor]], lung: Tensor
    ) -> None:
        """Add images: their predictions, and their lung masks, (N, H, W) bool."""
        for prediction, mask in zip(predictions, lung, strict=True):
            boxes = prediction["boxes"][~(prediction["scores"] < self.score)]  # NaN is counted, as one without region
            region = box_regions(boxes.to(mask.device), (mask.shape[0], mask.shape[1]))
            super().update(region, mask.expand_as(region))


def box_regions(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels whose centres lie in each box.

    Args:
        boxes: (n, 4) float xyxy in pixels.
        size: Height H and width W.

    Returns:
        (n, H, W) bool; nothing of a box that is no finite number, or holds no pixel's centre.

    Example:
        >>> box_regions(torch.tensor([[1.0, 0.0, 3.0, 1.0]]), (2, 4)).int()
        tensor([[[0, 1, 1, 0],
                 [0, 0, 0, 0]]], dtype=torch.int32)
    """
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    columns, rows = (torch.arange(side, device=boxes.device) + 0.5 for side in (size[1], size[0]))
    across, down = (x1 <= columns) & (columns < x2), (y1 <= rows) & (rows < y2)
    return down[:, :, None] & across[:, None, :]
