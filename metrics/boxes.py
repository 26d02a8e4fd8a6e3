"""Mean average precision of boxes, exact over processes that saw different numbers of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.utilities import dim_zero_cat


class BoxScores(Metric):
    """torchmetrics' MeanAveragePrecision behind states that can be gathered.

    Its own states are a tensor an image, gathered one by one: processes with different numbers of images would wait for
    each other for ever. Here rows of all images are gathered at once, flat, and it runs on the whole on every process.

    ``compute`` gives ``map`` (IoU 0.50 to 0.95) and ``map_50``; nothing where no image has a box.
    """

    full_state_update = False
    detections: list[Tensor]
    truths: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.add_state("detections", [], dist_reduce_fx="cat")  # image, score, box
        self.add_state("truths", [], dist_reduce_fx="cat")  # image, box

    def update(self, predictions: Sequence[dict[str, Tensor]], boxes: Sequence[Tensor]) -> None:
        """Add images: their predictions (``boxes``, ``scores``) and their true boxes, (n, 4) each."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        for prediction, truth in zip(predictions, boxes, strict=True):
            image = self.seen * world + rank  # the same on no two processes
            self.seen += 1
            found = torch.cat([prediction["scores"][:, None], prediction["boxes"]], dim=1).float()
            for state, rows in ((self.detections, found), (self.truths, truth.float())):
                state.append(torch.cat([rows.new_full((len(rows), 1), image), rows], dim=1).flatten())

    def compute(self) -> dict[str, Tensor]:
        """The defined scores by name."""
        if len(self.truths) == 0:
            return {}
        detections = dim_zero_cat(self.detections).view(-1, 6)
        truths = dim_zero_cat(self.truths).view(-1, 5)
        if len(truths) == 0:
            return {}
        images = torch.cat([detections[:, 0], truths[:, 0]]).unique()  # images with neither change nothing
        scores = MeanAveragePrecision(sync_on_compute=False).to(self.device)
        for image in images:
            found, true = detections[detections[:, 0] == image], truths[truths[:, 0] == image]
            scores.update([_boxes(found[:, 2:], scores=found[:, 1])], [_boxes(true[:, 1:])])
        result = scores.compute()
        return {name: result[name].to(self.device) for name in ("map", "map_50")}

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.seen = 0


def _boxes(boxes: Tensor, **columns: Tensor) -> dict[str, Tensor]:
    return {"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device), **columns}
