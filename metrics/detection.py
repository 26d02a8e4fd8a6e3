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
        truths: (N,) number of true boxes of each image.
    """

    image: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    truths: np.ndarray


def has_numbers(prediction: dict[str, Tensor]) -> bool:
    """Return whether the boxes and scores of an image are all finite; what is not cannot be ranked.

    Example:
        >>> import torch
        >>> has_numbers({"boxes": torch.zeros(1, 4), "scores": torch.tensor([float("nan")])})
        False
    """
    return bool(prediction["boxes"].isfinite().all() and prediction["scores"].isfinite().all())


def match_boxes(predictions: Sequence[dict[str, Tensor]], truths: Sequence[Tensor], thresholds: np.ndarray) -> Matches:
    """Give every detection, the most confident first, the free true box of the largest IoU that reaches the threshold.

    Args:
        predictions: One entry per image: ``boxes``, (d, 4) float xyxy, and ``scores``, (d,) float.
        truths: One entry per image: (t, 4) float xyxy.
        thresholds: (T,) IoU in (0, 1].

    Raises:
        ValueError: A box or score that is not finite (:func:`has_numbers`).

    Example:
        >>> import torch
        >>> square = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> twice = {"boxes": square.repeat(2, 1), "scores": torch.tensor([0.5, 0.9])}
        >>> match_boxes([twice], [square], np.array([0.5])).hit  # a true box is found once, by the more confident one
        array([[ True, False]])
    """
    if not all(map(has_numbers, predictions)):
        raise ValueError("boxes and scores must be finite: others cannot be ranked")
    images, scores, hits = [], [], []
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        order = prediction["scores"].argsort(descending=True, stable=True)
        overlaps = box_iou(prediction["boxes"][order].double(), truth.double()).numpy()
        images.append(np.full(len(order), index))
        scores.append(prediction["scores"][order].float().numpy())
        hits.append(np.stack([_match_greedily(overlaps, threshold) for threshold in thresholds]))
    return Matches(
        np.concatenate(images), np.concatenate(scores), np.concatenate(hits, axis=1), np.array([*map(len, truths)])
    )


def mean_average_precision(weights: np.ndarray, matches: Matches) -> np.ndarray:
    """Return COCO's mean average precision, for many weightings of the images at once.

    The mean over the IoU thresholds and over the recalls 0, 0.01 ... 1 of the best precision at that recall or a higher
    one (Lin et al., ECCV 2014). All detections count; COCO's own tool keeps the 100 most confident of an image.

    Args:
        weights: (R, N) float >= 0: how often each of R resamples holds each of N images; ones for the plain score.
        matches: Made with :data:`COCO_IOU`; its first threshold alone gives the AP at IoU 0.5.

    Returns:
        (R,) float in [0, 1]; NaN where no image with a weight has a true box.

    Example:
        Two images with a true box each; the more confident detection is wrong, the other one is right. Precision is 1/2
        up to a recall of 1/2, which 51 of the 101 recalls reach, and 0 beyond.

        >>> matches = Matches(np.array([0, 1]), np.array([0.9, 0.8]), np.array([[False, True]]), np.array([1, 1]))
        >>> mean_average_precision(np.ones((1, 2)), matches) * 101
        array([25.5])
    """
    order = np.argsort(-matches.score, kind="stable")
    image, hits = matches.image[order], matches.hit[:, order]
    return np.array([_average_precision(row[image], hits, row @ matches.truths) for row in weights])


def rsna_precision(matches: Matches, score: float) -> np.ndarray:
    """Return the RSNA Pneumonia Detection Challenge's score of each image; its mean is the challenge's score.

    The mean over the IoU thresholds 0.40, 0.45 ... 0.75 of ``TP / (TP + FP + FN)``. An image without a true box scores
    0 for any detection, and is left out (NaN) if there is none.

    Args:
        matches: Made with :data:`RSNA_IOU`.
        score: Detections of at least this confidence are submitted.

    Returns:
        (N,) float in [0, 1] or NaN.

    Example:
        Three images: one box found and one false alarm; no box, one false alarm; no box, no detection.

        >>> hit = np.repeat([[True, False, False]], 8, axis=0)
        >>> matches = Matches(np.array([0, 0, 1]), np.array([0.9, 0.8, 0.7]), hit, np.array([1, 0, 0]))
        >>> rsna_precision(matches, score=0.5)
        array([0.5, 0. , nan])
    """
    is_submitted, n = matches.score >= score, len(matches.truths)
    submitted = np.bincount(matches.image[is_submitted], minlength=n)
    hits = np.stack([np.bincount(matches.image[is_submitted & hit], minlength=n) for hit in matches.hit])
    union = submitted + matches.truths - hits
    return np.where(submitted + matches.truths > 0, (hits / np.maximum(union, 1)).mean(axis=0), np.nan)


def _average_precision(weight: np.ndarray, hits: np.ndarray, wanted: float) -> float:
    """Of (D,) weighted detections, the most confident first, (T, D) hits, and the weight of all true boxes."""
    if wanted <= 0:
        return np.nan

    # precision at a recall = the best that any higher recall has
    true_positives = np.cumsum(weight * hits, axis=1)
    precision = true_positives / np.maximum(np.cumsum(weight), 1e-12)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]

    # the first detection at which each recall is reached
    places = [np.searchsorted(row, _RECALL * wanted - 1e-9) for row in true_positives]
    reached = [row[place[place < len(row)]].sum() for row, place in zip(precision, places, strict=True)]
    return float(np.mean(reached)) / len(_RECALL)


def _match_greedily(overlaps: np.ndarray, threshold: float) -> np.ndarray:
    """(d,) bool from (d, t) IoU, detections in order of confidence."""
    free, hit = np.ones(overlaps.shape[1], bool), np.zeros(len(overlaps), bool)
    for row in np.flatnonzero((overlaps >= threshold).any(axis=1)):
        candidates = np.where(free, overlaps[row], 0.0)
        best = candidates.argmax()
        hit[row] = candidates[best] >= threshold
        free[best] &= ~hit[row]
    return hit
