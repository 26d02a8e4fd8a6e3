"""Mean average precision of boxes, exact over processes that saw different numbers of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from metrics.detection import COCO_IOU, match_boxes, mean_average_precision


class BoxScores(Metric):
    """Compute COCO's mean average precision of one class of boxes (:func:`.mean_average_precision`).

    torchmetrics' own ``MeanAveragePrecision`` holds a tensor per image and gathers them one by one: processes with
    different numbers of images would wait for each other for ever. Here the rows of all images are gathered at once,
    flat. It needs no pycocotools either.

    As input to ``update`` the metric accepts

    - ``predictions``: one dictionary per image with ``boxes``, (d, 4) float xyxy, and ``scores``, (d,) float;
    - ``boxes``: one (t, 4) float tensor of true boxes, xyxy, per image.

    As output of ``compute`` it returns a dictionary of ``map`` (IoU 0.50 to 0.95) and ``map_50`` (IoU 0.50), scalars in
    [0, 1]; an empty one where no image has a true box.

    Example:
        The true box is found, but a false detection is more confident: precision 1/2 at every recall.

        >>> metric = BoxScores()
        >>> true, false = [10.0, 10.0, 30.0, 30.0], [40.0, 40.0, 60.0, 60.0]
        >>> predictions = [{"boxes": torch.tensor([true, false]), "scores": torch.tensor([0.4, 0.9])}]
        >>> metric.update(predictions, [torch.tensor([true])])
        >>> metric.compute()
        {'map': tensor(0.5000), 'map_50': tensor(0.5000)}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    detections: list[Tensor]
    truths: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.n_images = 0
        self.add_state("detections", [], dist_reduce_fx="cat")  # image, score, box
        self.add_state("truths", [], dist_reduce_fx="cat")  # image, box

    def update(self, predictions: Sequence[dict[str, Tensor]], boxes: Sequence[Tensor]) -> None:
        """Add images: their predictions (``boxes``, ``scores``) and their true boxes, (t, 4) each."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        for prediction, truth in zip(predictions, boxes, strict=True):
            image = self.n_images * world + rank  # the same on no two processes
            self.n_images += 1
            scored = torch.cat([prediction["scores"][:, None], prediction["boxes"]], dim=1).float()
            for state, rows in ((self.detections, scored), (self.truths, truth.float())):
                state.append(torch.cat([rows.new_full((len(rows), 1), image), rows], dim=1).flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return the defined scores by name."""
        if len(self.truths) == 0:
            return {}
        detections = dim_zero_cat(self.detections).view(-1, 6).cpu()
        truths = dim_zero_cat(self.truths).view(-1, 5).cpu()
        if len(truths) == 0:
            return {}

        # images with neither change nothing
        images = torch.cat([detections[:, 0], truths[:, 0]]).unique()
        by_image = [detections[detections[:, 0] == image] for image in images]
        predictions = [{"boxes": rows[:, 2:], "scores": rows[:, 1]} for rows in by_image]
        matches = match_boxes(predictions, [truths[truths[:, 0] == image, 1:] for image in images], COCO_IOU)

        weights = np.ones((1, len(images)))
        hits = {"map": matches.hit, "map_50": matches.hit[:1]}
        scores = {name: mean_average_precision(weights, matches._replace(hit=hit)) for name, hit in hits.items()}
        return {name: torch.tensor(score.item(), device=self.device) for name, score in scores.items()}

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.n_images = 0
