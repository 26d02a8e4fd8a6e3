"""Localisation instability: is a finding that was found on the original still found on what the phone received?"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchvision.ops import box_iou

from metrics.detection import has_numbers
from metrics.exact import exact_mean, exact_sum

LOCALISED_IOU = (0.4, 0.5, 0.75)  # IoU from which a finding counts as localised
Boxes = dict[str, Tensor]  # boxes (n, 4) xyxy; of predictions scores (n,); labels (n,), where there are several classes


class PairChange(NamedTuple):
    """How the boxes of one pair differ, for T values of IoU.

    Attributes:
        localised: (T,) bool, some class is localised on the original.
        lost: (T,) bool, some class is localised on the original and not on the received image.
        gained: (T,) bool, some class the other way round.
        is_known: There is a true box: else nothing can be localised.
        iou: How far the boxes of both sides are the same, in [0, 1] (:func:`sides_iou`); NaN without any box.
        score_change: Absolute change of the highest score, in [0, 1]; an image without a box has 0.
    """

    localised: np.ndarray
    lost: np.ndarray
    gained: np.ndarray
    is_known: bool
    iou: float
    score_change: float


class LocalisationInstability(Metric):
    r"""Compute LI, the percentage of pairs in which a finding is localised on one side only.

    .. math:: \text{LI}(t) = \frac{100}{N} \sum_i^N 1\big(\exists c: \ell_t^c(x_i) \neq \ell_t^c(R(x_i))\big), \quad
        \ell_t^c(x) = 1\Big(\max_{p \in P_c(x),\, g \in G_c(x)} \text{IoU}(p, g) \geq t\Big)

    A class c is localised on an image if some predicted box :math:`p` of it whose score reaches a threshold overlaps
    some true box :math:`g` of it with IoU t or more. Boxes are matched *within the image*: any predicted box may find
    any true box. The package ``cheXwhatsApp`` compares the k-th predicted with the k-th true box by row instead, so its
    figure hangs on the order in which boxes are listed; with one box a class and image both give the same.

    N counts the pairs that have a true box on either side: in others nothing can be localised. They are counted as
    ``no_box``; a pair with a box or score that is no finite number as ``undefined``. LI is small where nothing is ever
    localised: ``localised`` stands beside it.

    As input to ``update`` the metric accepts, one entry per image

    - ``original``, ``received``: predictions, ``boxes`` (n, 4) float xyxy, ``scores`` (n,) float and, where there are
      several classes, ``labels`` (n,) int;
    - ``truths``: true boxes, ``boxes`` and, likewise, ``labels``; those of the originals;
    - ``received_truths``: those of the received images, in their pixels; None: the same.

    As output of ``compute`` it returns a dictionary; for every t of 0.4, 0.5, 0.75

    - ``<t>/score``: LI(t) in [0, 100];
    - ``<t>/lost``, ``<t>/gained``: percent of pairs in which a class is localised on the original only, on the received
      image only; a pair can be both;
    - ``<t>/localised``: percent of pairs in which some class is localised on the original;

    and ``iou``, mean over pairs of how far both sides' boxes are the same (:func:`sides_iou`); ``score_change``, mean
    absolute change of an image's highest score; ``pairs`` (N), ``no_box`` and ``undefined``, numbers of pairs. ``iou``
    and ``score_change`` need no true box, so that pairs without one count in them.

    Args:
        score: Predicted boxes of at least this score count.
        thresholds: The values of t.

    Example:
        Two images. On the received ones the boxes are too high: the second is no longer found at IoU 0.75, but at 0.5.

        >>> def boxes(*xyxy):
        ...     return {"boxes": torch.tensor([xyxy], dtype=torch.float), "scores": torch.tensor([0.9])}
        >>> metric = LocalisationInstability()
        >>> metric.update(
        ...     [boxes(10, 30, 50, 70), boxes(20, 40, 60, 80)], [boxes(12, 32, 52, 80), boxes(22, 42, 62, 100)],
        ...     [boxes(11, 31, 51, 71), boxes(21, 41, 61, 81)], [boxes(13, 33, 53, 73), boxes(23, 43, 63, 83)])
        >>> scores = metric.compute()
        >>> scores["0.5/score"], scores["0.75/score"], scores["0.75/lost"], scores["0.75/gained"]
        (0.0, 50.0, 50.0, 0.0)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    either: Tensor
    lost: Tensor
    gained: Tensor
    localised: Tensor
    iou: Tensor
    overlapping: Tensor
    score_change: Tensor
    scored: Tensor
    pairs: Tensor
    no_box: Tensor
    undefined: Tensor

    def __init__(self, score: float = 0.5, thresholds: Sequence[float] = LOCALISED_IOU) -> None:
        super().__init__()
        self.score, self.thresholds = score, tuple(thresholds)
        for name in ("either", "lost", "gained", "localised"):
            self.add_state(name, torch.zeros(len(self.thresholds), dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("iou", "overlapping", "score_change", "scored", "pairs", "no_box", "undefined"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        original: Sequence[Boxes],
        received: Sequence[Boxes],
        truths: Sequence[Boxes],
        received_truths: Sequence[Boxes] | None = None,
    ) -> None:
        """Add images: their predictions on both sides, and their true boxes."""
        others = truths if received_truths is None else received_truths
        for before, after, truth, other in zip(original, received, truths, others, strict=True):
            change = compare_boxes(before, after, truth, other, score=self.score, thresholds=self.thresholds)
            self._add(change)

    def _add(self, change: PairChange | None) -> None:
        if change is None:
            self.undefined += 1
            return

        # with or without a true box
        values = torch.tensor([change.iou, change.score_change], dtype=torch.float32, device=self.device)
        self.iou += exact_sum(values[:1])
        self.overlapping += (~values[:1].isnan()).sum()
        self.score_change += exact_sum(values[1:])
        self.scored += 1
        if not change.is_known:
            self.no_box += 1
            return

        self.pairs += 1
        columns = {"either": change.lost | change.gained} | {
            name: getattr(change, name) for name in ("lost", "gained", "localised")
        }
        for name, column in columns.items():
            state = getattr(self, name)
            state += torch.from_numpy(column).to(state)

    def compute(self) -> dict[str, float]:
        """Return the scores over all pairs of all processes."""
        pairs = int(self.pairs)
        scores: dict[str, float] = {}
        for index, t in enumerate(self.thresholds):
            for name, state in {"score": self.either, "lost": self.lost, "gained": self.gained}.items():
                scores[f"{t:g}/{name}"] = 100 * int(state[index]) / pairs if pairs else nan
            scores[f"{t:g}/localised"] = 100 * int(self.localised[index]) / pairs if pairs else nan
        return scores | {
            "iou": exact_mean(self.iou, int(self.overlapping)),
            "score_change": exact_mean(self.score_change, int(self.scored)),
            "pairs": pairs,
            "no_box": int(self.no_box),
            "undefined": int(self.undefined),
        }


def compare_boxes(
    original: Boxes,
    received: Boxes,
    truth: Boxes,
    received_truth: Boxes | None = None,
    *,
    score: float = 0.5,
    thresholds: Sequence[float] = LOCALISED_IOU,
) -> PairChange | None:
    """Return how the boxes of one pair differ; None where a prediction is no finite number.

    Args:
        original: The prediction on the original: ``boxes``, ``scores``, with several classes ``labels``.
        received: The same on the received image.
        truth: The true boxes: ``boxes``, with several classes ``labels``.
        received_truth: Those of the received image; None: the same.
        score: Predicted boxes of at least this score count.
        thresholds: T values of IoU.
    """
    if not (has_numbers(original) and has_numbers(received)):
        return None
    truths = (truth, truth if received_truth is None else received_truth)
    sides = [_confident(side, score) for side in (original, received)]
    classes = sorted({int(label) for each in truths for label in _labels(each)})

    # which classes are localised on which side, (2, C, T)
    best = np.array([[_best_iou(side, true, c) for c in classes] for side, true in zip(sides, truths, strict=True)])
    localised = best.reshape(2, len(classes), 1) >= np.asarray(thresholds)
    before, after = localised

    highest = [float(side["scores"].max()) if len(side["scores"]) else 0.0 for side in (original, received)]
    return PairChange(
        localised=before.any(axis=0),
        lost=(before & ~after).any(axis=0),
        gained=(after & ~before).any(axis=0),
        is_known=bool(classes),
        iou=sides_iou(*sides),
        score_change=abs(highest[0] - highest[1]),
    )


def sides_iou(original: Boxes, received: Boxes) -> float:
    """Return how far two sets of boxes are the same: each box's best IoU with the other set's of its class, their mean.

    Args:
        original: ``boxes`` (n, 4), with several classes ``labels`` (n,).
        received: The same, (m, 4).

    Returns:
        In [0, 1]; 1: the same boxes. A box that has no partner counts 0. NaN where neither set has a box.

    Example:
        One box stays where it is, another one is gone: of three boxes two have a partner.

        >>> square = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> two = {"boxes": torch.cat([square, square + 50])}
        >>> round(sides_iou(two, {"boxes": square}), 3)
        0.667
    """
    total = len(original["boxes"]) + len(received["boxes"])
    if not total:
        return nan
    if not len(original["boxes"]) or not len(received["boxes"]):
        return 0.0
    overlaps = box_iou(original["boxes"].double(), received["boxes"].double())
    overlaps = overlaps * (_labels(original)[:, None] == _labels(received)[None])
    return float(overlaps.amax(dim=1).sum() + overlaps.amax(dim=0).sum()) / total


def _best_iou(prediction: Boxes, truth: Boxes, label: int) -> float:
    """Return the largest IoU of a predicted with a true box of a class; 0 where either is missing."""
    pairs = prediction["boxes"][_labels(prediction) == label], truth["boxes"][_labels(truth) == label]
    if not len(pairs[0]) or not len(pairs[1]):
        return 0.0
    return float(box_iou(pairs[0].double(), pairs[1].double()).max())


def _confident(prediction: Boxes, score: float) -> Boxes:
    keep = prediction["scores"] >= score
    return {name: value[keep] for name, value in prediction.items()}


def _labels(boxes: Boxes) -> Tensor:
    """Return the boxes' classes; all 0 where there is one class."""
    return boxes.get("labels", torch.zeros(len(boxes["boxes"]), dtype=torch.int64))
