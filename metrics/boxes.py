"""Mean average precision of boxes, exact over processes that saw different numbers of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from metrics.detection import COCO_IOU, Matches, has_numbers, match_boxes, mean_average_precision


class BoxScores(Metric):
    """Compute COCO's mean average precision of one class of boxes (:func:`.mean_average_precision`).

    torchmetrics' own ``MeanAveragePrecision`` holds a tensor per image and gathers them one by one: processes with
    different numbers of images would wait for each other for ever. Here each process matches its own images' boxes,
    and what is gathered, at once and flat, is which detections found a true box. It needs no pycocotools either.

    As input to ``update`` the metric accepts

    - ``predictions``: one dictionary per image with ``boxes``, (d, 4) float xyxy, and ``scores``, (d,) float;
    - ``boxes``: one (t, 4) float tensor of true boxes, xyxy, per image.

    As output of ``compute`` it returns a dictionary of ``map`` (IoU 0.50 to 0.95) and ``map_50`` (IoU 0.50), scalars in
    [0, 1]; an empty one where no image has a true box. An image with a detection that is no finite number is left out
    with its true boxes; where there are such images, ``undefined`` is their number.

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
    n_truths: Tensor
    undefined: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.n_images = 0
        self.add_state("detections", [], dist_reduce_fx="cat")  # image, score, a hit or not for each of COCO's IoU
        self.add_state("n_truths", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("undefined", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[dict[str, Tensor]], boxes: Sequence[Tensor]) -> None:
        """Add images: their predictions (``boxes``, ``scores``) and their true boxes, (t, 4) each."""
        if not predictions:
            return
        found = [{key: entry[key].float().cpu() for key in ("boxes", "scores")} for entry in predictions]
        truths = [truth.float().cpu() for truth in boxes]

        # an image without numbers has neither detections nor true boxes
        defined = [has_numbers(entry) for entry in found]
        found = [
            entry if ok else {key: value[:0] for key, value in entry.items()}
            for entry, ok in zip(found, defined, strict=True)
        ]
        truths = [truth if ok else truth[:0] for truth, ok in zip(truths, defined, strict=True)]
        self.undefined = self.undefined + defined.count(False)
        matches = match_boxes(found, truths, COCO_IOU)

        # each process numbers its images: sorted stably, all are in the order in which a sampler deals them out
        image = self.n_images + matches.image
        self.n_images += len(predictions)

        rows = np.column_stack([image, matches.score, matches.hit.T]).astype(np.float32)
        self.detections.append(torch.from_numpy(rows.ravel()).to(self.device))
        self.n_truths = self.n_truths + int(matches.truths.sum())

    def compute(self) -> dict[str, Tensor]:
        """Return the defined scores by name."""
        undefined = {"undefined": self.undefined.float()} if self.undefined else {}
        if self.n_truths == 0:
            return undefined
        rows = dim_zero_cat(self.detections).view(-1, 2 + len(COCO_IOU)).cpu().numpy()
        rows = rows[np.argsort(rows[:, 0], kind="stable")]  # detections of one score count in their images' order

        # all images as one: none is resampled
        whole = Matches(np.zeros(len(rows), int), rows[:, 1], rows[:, 2:].T > 0, np.array([int(self.n_truths)]))
        hits = {"map": whole.hit, "map_50": whole.hit[:1]}
        weights = np.ones((1, 1))
        scores = {name: mean_average_precision(weights, whole._replace(hit=hit)) for name, hit in hits.items()}
        return {name: torch.tensor(score.item(), device=self.device) for name, score in scores.items()} | undefined

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.n_images = 0
