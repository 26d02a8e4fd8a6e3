"""The scores of every task on its own images, no channel."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from covidmt.evaluation.answers import TaskAnswers
from covidmt.evaluation.scores import ResampledScore, binary_scores, mean_score
from experiments.schema import Task, TaskKind
from metrics.bootstrap import PatientBootstrap
from metrics.detection import COCO_IOU, RSNA_IOU, has_numbers, match_boxes, mean_average_precision, rsna_precision
from metrics.log_odds import log_odds

BOX_SCORE = 0.5  # detections of at least this confidence are submitted to the RSNA challenge's score


def task_scores(task: Task, answers: TaskAnswers, bootstrap: PatientBootstrap) -> dict[str, ResampledScore]:
    """Return the scores of a task's split.

    Args:
        task: The task.
        answers: What a network answered to its n images.
        bootstrap: Over the n images.

    Returns:
        ``<label>/<score>`` -> score (``<score>`` for a task of one label); first ``accuracy`` where the labels exclude
        each other. For boxes ``map``, ``map_50``, ``rsna_map``; of a class of the user's own the means of what it says.
    """
    if task.kind is TaskKind.custom:
        return {key: mean_score(column, bootstrap, None) for key, column in answers.scores.items()}
    if task.kind is TaskKind.boxes:
        return _box_scores(answers, bootstrap) if answers.detections else {}
    targets, logits = answers.targets, torch.from_numpy(answers.logits).double()
    probability = (logits.softmax(dim=1) if task.kind is TaskKind.multiclass else logits.sigmoid()).numpy()
    odds = log_odds(logits, softmax=task.kind is TaskKind.multiclass).numpy()
    finite = np.isfinite(answers.logits).all(axis=1, keepdims=True)
    known, exclusive = ~np.isnan(targets) & finite, labels_exclude(targets)

    # classes that exclude each other are decided by the largest, others each by its probability
    positive = probability >= 0.5
    scores: dict[str, ResampledScore] = {}
    if exclusive:
        positive = probability.argmax(axis=1)[:, None] == np.arange(targets.shape[1])
        all_known = known.all(axis=1)
        hit = np.where(all_known, (positive & (targets == 1)).any(axis=1), np.nan)
        scores["accuracy"] = mean_score(hit, bootstrap, 1.0)

    for index, label in enumerate(task.labels):
        columns = (targets[:, index] == 1, positive[:, index], probability[:, index], odds[:, index], known[:, index])
        prefix = f"{label}/" if len(task.labels) > 1 else ""
        scores |= {f"{prefix}{name}": score for name, score in binary_scores(*columns, bootstrap).items()}
    return scores


def labels_exclude(targets: np.ndarray) -> bool:
    """Return whether a task's labels exclude each other: several, of which every known row has exactly one.

    Args:
        targets: (n, labels) 1 / 0 / NaN = unknown.

    Example:
        >>> labels_exclude(np.array([[1, 0], [0, 1], [np.nan, 1]])), labels_exclude(np.array([[1, 1], [0, 1]]))
        (True, False)
    """
    known = targets[~np.isnan(targets).any(axis=1)]
    return targets.shape[1] > 1 and len(known) > 0 and bool((known.sum(axis=1) == 1).all())


def _box_scores(answers: TaskAnswers, bootstrap: PatientBootstrap) -> dict[str, ResampledScore]:
    # without a number an image has neither detections nor true boxes, and does not count
    defined = np.array([has_numbers(image) for image in answers.detections])
    rows = list(zip(answers.detections, answers.truths, defined, strict=True))
    detections = [{key: value[:0] if not ok else value for key, value in image.items()} for image, _, ok in rows]
    truths = [boxes if ok else boxes[:0] for _, boxes, ok in rows]

    coco, half = (match_boxes(detections, truths, iou) for iou in (COCO_IOU, COCO_IOU[:1]))
    challenge = rsna_precision(match_boxes(detections, truths, RSNA_IOU), BOX_SCORE)
    every = defined
    return {
        "map": ResampledScore(partial(mean_average_precision, matches=coco), bootstrap, every),
        "map_50": ResampledScore(partial(mean_average_precision, matches=half), bootstrap, every),
        "rsna_map": mean_score(challenge, bootstrap, 1.0),
    }
