"""Detection scores that can be resampled by image: COCO's mean average precision and the RSNA challenge's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.ops import box_iou

COCO_IOU = np.linspace(0.5, 0.95, 10).round(2)
RSNA_IOU = np.linspace(0.4, 0.75, 8).round(2)
_RECALL = np.linspace(0, 1, 101)


class Matches(NamedTuple):
    """All detections of a set of N images, and whether they find a true box.

    Attributes:
        image: (D,) index of each detection's image.
        score: (D,) confidence.
        hit: (T, D) bool: found a true box, for each of T IoU thresholds.
        truths: (N,) number of true boxes an image.
    """

    image: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    truths: np.ndarray


def match(predictions: Sequence[dict[str, Tensor]], truths: Sequence[Tensor], thresholds: np.ndarray) -> Matches:
    """Give every detection, the most confident first, the free true box of the largest IoU that reaches the threshold.

    Args:
        predictions: An image each: ``boxes`` (d, 4) xyxy and ``scores`` (d,).
        truths: An image each: (t, 4) xyxy.
        thresholds: (T,) IoU.
    """
    images, scores, hits = [], [], []
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        order = prediction["scores"].argsort(descending=True, stable=True)
        overlaps = box_iou(prediction["boxes"][order].double(), truth.double()).numpy()
        images.append(np.full(len(order), index))
        scores.append(prediction["scores"][order].float().numpy())
        hits.append(np.stack([_greedy(overlaps, threshold) for threshold in thresholds]))
    return Matches(
        np.concatenate(images), np.concatenate(scores), np.concatenate(hits, axis=1), np.array([*map(len, truths)])
    )


def mean_average_precision(weights: np.ndarray, matches: Matches) -> np.ndarray:
    """COCO's mean over IoU thresholds of the precision at 101 recalls, (R, N) image weights -> (R,).

    NaN where no image with a weight has a true box.
    """
    order = np.argsort(-matches.score, kind="stable")
    image, hits = matches.image[order], matches.hit[:, order]
    return np.array([_mean_average_precision(row[image], hits, row @ matches.truths) for row in weights])


def rsna_precision(matches: Matches, score: float) -> np.ndarray:
    """The RSNA Pneumonia Detection Challenge's score of each image, (N,) in [0, 1]; its mean is the challenge's score.

    Mean over IoU 0.40 ... 0.75 of ``TP / (TP + FP + FN)``. An image without a true box gets 0 for any detection, and is
    left out (NaN) if there is none.

    Args:
        matches: Made with :data:`RSNA_IOU`.
        score: Detections of at least this confidence are submitted.
    """
    given, n = matches.score >= score, len(matches.truths)
    submitted = np.bincount(matches.image[given], minlength=n)
    found = np.stack([np.bincount(matches.image[given & hit], minlength=n) for hit in matches.hit])
    union = submitted + matches.truths - found
    return np.where(union[0] + found[0] > 0, (found / np.maximum(union, 1)).mean(axis=0), np.nan)


def _mean_average_precision(weight: np.ndarray, hits: np.ndarray, wanted: float) -> float:
    """Of (D,) weighted detections, the most confident first, (T, D) hits, and the weight of all true boxes."""
    if wanted <= 0:
        return np.nan
    found = np.cumsum(weight * hits, axis=1)
    precision = found / np.maximum(np.cumsum(weight), 1e-12)
    # precision at a recall = the best that any higher recall has
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    places = [np.searchsorted(row, _RECALL * wanted - 1e-9) for row in found]
    reached = [row[place[place < len(row)]].sum() for row, place in zip(precision, places, strict=True)]
    return float(np.mean(reached)) / len(_RECALL)


def _greedy(overlaps: np.ndarray, threshold: float) -> np.ndarray:
    """(d,) bool from (d, t) IoU, detections in order of confidence."""
    free, hit = np.ones(overlaps.shape[1], bool), np.zeros(len(overlaps), bool)
    for row, overlap in enumerate(overlaps):
        candidates = np.where(free & (overlap >= threshold), overlap, -1.0)
        if len(candidates) and candidates.max() >= 0:
            free[candidates.argmax()] = False
            hit[row] = True
    return hit
