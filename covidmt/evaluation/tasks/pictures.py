"""The pairs that a task is not stable on: the label that changes with its heat maps, the box that is lost or gained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import NamedTuple

import numpy as np
import torch

from callbacks.pair_maps import ExplainedSide, explained_sides
from covidmt.evaluation.result import RunEvaluation
from covidmt.evaluation.tasks.answers import BoxRows, LabelRows, decided
from covidmt.pages.numbers import number
from datamodules.evaluation import EvaluationDataModule
from datamodules.pairs import PairDataset
from experiments.batch import Pair
from experiments.schema import Robustness, Target
from explain.box_picture import BoxSide, draw_box_pair
from explain.cam import Cam
from explain.decision import Decision
from explain.heat import heat_region
from explain.picture import Side, draw_pair
from explain.task_decisions import TaskDecisions
from lightning_modules.multitask import MultiTaskModule
from metrics.paired import SIDES, flips
from metrics.saliency import iol
from metrics.tasks.localisation import LOCALISED_IOU, compare_boxes

MOST = 2  # pictures of a task
IOU = 0.5  # from which a true box counts as found


class TaskPicture(NamedTuple):
    """A pair that a task is not stable on.

    Attributes:
        task: The task.
        title: The image's name.
        caption: What changes.
        pixels: (height, width, 3) uint8 RGB.
    """

    task: str
    title: str
    caption: str
    pixels: np.ndarray


class UnstableLabel(NamedTuple):
    """A label whose decision changes in a pair.

    Attributes:
        row: The pair.
        label: Its place among the task's labels.
        change: Of the probability, absolute, in [0, 1].
    """

    row: int
    label: int
    change: float


def unstable_labels(rows: LabelRows, decisions: TaskDecisions) -> list[UnstableLabel]:
    """Return at most :data:`MOST` pairs whose decision changes, each with the label that changes most, the worst first.

    Args:
        rows: What a network answered to n pairs.
        decisions: How the task decides.
    """
    sides = [rows.logits[side] for side in SIDES]
    flip = flips(*(decided(decisions, logits) for logits in sides)) == 1
    before, after = (decisions.probability(torch.from_numpy(logits)).numpy() for logits in sides)
    change = np.where(flip, np.abs(before - after), -1.0)

    worst = change.max(axis=1)
    order = [int(row) for row in np.argsort(-worst, kind="stable")[:MOST] if worst[row] >= 0]
    return [UnstableLabel(row, int(change[row].argmax()), float(worst[row])) for row in order]


def unstable_boxes(rows: BoxRows, settings: Robustness) -> list[int]:
    """Return at most :data:`MOST` pairs in which a true box is found on one side only, the largest change first."""
    index, changed = LOCALISED_IOU.index(IOU), []
    for row, sides in enumerate(zip(rows.original, rows.received, rows.truths, strict=True)):
        before, after, truth = sides
        change = compare_boxes(before, after, {"boxes": truth}, score=settings.box_score)
        if change is not None and change.is_known and (change.lost[index] or change.gained[index]):
            changed.append((-change.score_change, row))
    return [row for _, row in sorted(changed)[:MOST]]


def draw_unstable(run: RunEvaluation, data: EvaluationDataModule) -> Iterator[TaskPicture]:
    """Yield the pictures of all tasks but the deciding one, whose pairs the report shows already.

    Args:
        run: The network, and what it answered.
        data: Its data.
    """
    painter = _Painter(run.network.module, run.network.experiment.robustness, run.answers.size)
    for group in data.pair_groups(data.split):
        for task in group.tasks:
            rows = run.answers.stability.get(task.name)
            if isinstance(rows, LabelRows):
                decisions = run.answers.decisions[task.name]
                for unstable in unstable_labels(rows, decisions):
                    place = group.pairs.ids.index(rows.ids[unstable.row])
                    label = decisions.labels[unstable.label]
                    truth = _known_label(data, group.source, group.pairs.paths[place], label)
                    yield painter.draw_label(group.pairs, place, task.name, decisions.decisions[unstable.label], truth)
            elif isinstance(rows, BoxRows):
                for row in unstable_boxes(rows, painter.settings):
                    yield painter.draw_boxes(group.pairs, group.pairs.ids.index(rows.ids[row]), task.name, rows, row)


class _Painter:
    """Draw pairs under a network."""

    def __init__(self, module: MultiTaskModule, robustness: Robustness, size: int) -> None:
        self.module, self.size = module, size
        self.settings = replace(robustness, target=Target.decision)
        self.cam = Cam(self.settings.engine, self.settings.layer)

    def draw_label(self, pairs: PairDataset, place: int, task: str, decision: Decision, truth: float) -> TaskPicture:
        """Draw a pair with the heat maps of one label's decision."""
        pair = pairs[place]
        device = next(self.module.parameters()).device
        images = torch.stack([pair.original, pair.received]).to(device)
        sides = explained_sides(self.cam(self.module, task, images, decision), (self.size, self.size))
        original = self._side(pair.original, sides[0], pair, decision)
        received = self._side(pair.received, sides[1], pair, decision)
        pixels = draw_pair(
            original, received, pair.lung.numpy(),
            label=truth, caption=str(pair.id), decision=decision, settings=self.settings,
        )  # fmt: skip
        caption = (
            f"{decision.answer(original.positive)} → {decision.answer(received.positive)} on the received image: p of "
            f"{decision.label} {number(original.probability)}, as received {number(received.probability)}"
        )
        return TaskPicture(task, str(pair.id), f"{caption}.", pixels)

    def draw_boxes(self, pairs: PairDataset, place: int, task: str, rows: BoxRows, row: int) -> TaskPicture:
        """Draw a pair with the boxes of both sides and the true ones."""
        pair, truths = pairs[place], (rows.truths[row] / self.size).tolist()
        change = compare_boxes(
            rows.original[row], rows.received[row], {"boxes": rows.truths[row]}, score=self.settings.box_score
        )
        assert change is not None
        index = LOCALISED_IOU.index(IOU)
        before = bool(change.localised[index])
        after = (before and not change.lost[index]) or bool(change.gained[index])

        sides = []
        for image, prediction, is_found in (
            (pair.original, rows.original[row], before),
            (pair.received, rows.received[row], after),
        ):
            keep = prediction["scores"] >= self.settings.box_score
            corners, scores = (prediction["boxes"][keep] / self.size).tolist(), prediction["scores"][keep].tolist()
            boxes = [(*box, score) for box, score in zip(corners, scores, strict=True)]
            sides.append(BoxSide(image[0].numpy(), boxes, is_found))
        pixels = draw_box_pair(*sides, truths, task=task, caption=str(pair.id), iou=IOU)
        overlap = "" if isnan(change.iou) else f"; overlap of both sides' boxes {number(change.iou)}"
        caption = f"{len(sides[0].boxes)} predicted on the original, {len(sides[1].boxes)} on the received image"
        return TaskPicture(task, str(pair.id), f"{caption}{overlap}.", pixels)

    def _side(self, image: torch.Tensor, explained: ExplainedSide, pair: Pair, decision: Decision) -> Side:
        region = heat_region(explained.heat, self.settings.region_threshold).cpu()
        logits = explained.logits.cpu()
        return Side(
            image=image[0].numpy(),
            heat=explained.heat[0].cpu().numpy(),
            region=region[0].numpy(),
            probability=float(decision.probability(logits)),
            positive=bool(decision.positive(logits)),
            iol=float(iol(region, pair.lung[None])),
            cells=(explained.raw.shape[1], explained.raw.shape[2]),
        )


def _known_label(data: EvaluationDataModule, source: str, path: str, label: str) -> float:
    """Return what the data set says of an image: 1, 0, or NaN where it says nothing."""
    table = data.tables[source]
    rows = table.loc[table["image"] == path]
    return float(rows[label].iloc[0]) if label in table and len(rows) else float("nan")


def pictures_text(pictures: Sequence[TaskPicture]) -> str:
    """Return how the pictures of a gallery were chosen."""
    tasks = ", ".join(dict.fromkeys(picture.task for picture in pictures))
    return (
        f"At most {MOST} pairs of each task ({tasks}), the largest change first: the worst cases, not typical ones. "
        "Heat maps explain the label's decision."
    )
