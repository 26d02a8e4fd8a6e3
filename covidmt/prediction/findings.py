"""What a network says of one image besides the decision: every label of every task, and boxes, after each channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metrics.tasks.localisation import sides_iou


class FindingAnswer(NamedTuple):
    """A label's probability, in [0, 1], and whether it is positive."""

    probability: float
    positive: bool


@dataclass(frozen=True)
class LabelFinding:
    """One label of one task.

    Attributes:
        task: The task.
        label: The label.
        answer: On the image itself.
        channels: After each channel.
        is_near: The label's probability is near its threshold, on the image or after a channel
            (:meth:`explain.decision.Decision.is_near`).

    Example:
        >>> sent = {"whatsapp": FindingAnswer(0.4, positive=False)}
        >>> finding = LabelFinding("effusion", "Effusion", FindingAnswer(0.6, positive=True), sent)
        >>> finding.unstable
        ['whatsapp']
        >>> finding.text
        'Effusion: yes (probability 0.600); after whatsapp no (0.400).'
    """

    task: str
    label: str
    answer: FindingAnswer
    channels: Mapping[str, FindingAnswer]
    is_near: bool = False

    @property
    def unstable(self) -> list[str]:
        """The channels after which the answer is another one."""
        return [name for name, sent in self.channels.items() if sent.positive != self.answer.positive]

    @property
    def text(self) -> str:
        """The finding in a line."""
        words = {True: "yes", False: "no"}
        sent = "".join(
            f"; after {name} {words[sent.positive]} ({sent.probability:.3f})" for name, sent in self.channels.items()
        )
        return f"{self.label}: {words[self.answer.positive]} (probability {self.answer.probability:.3f}){sent}."

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "task": self.task,
            "label": self.label,
            "probability": round(self.answer.probability, 6),
            "positive": self.answer.positive,
            "channels": {
                name: {"probability": round(sent.probability, 6), "positive": sent.positive, "survives": ok}
                for name, sent in self.channels.items()
                for ok in (sent.positive == self.answer.positive,)
            },
        }


@dataclass(frozen=True)
class ValueFinding:
    """A number that a task of a class of the user's own says of an image.

    Attributes:
        task: The task.
        name: What the number is.
        value: Of the image itself.
        channels: After each channel.

    Example:
        >>> ValueFinding("severity", "findings", 2.125, {"whatsapp": 2.0}).text
        'severity, findings: 2.12; after whatsapp 2.'
    """

    task: str
    name: str
    value: float
    channels: Mapping[str, float]

    @property
    def text(self) -> str:
        """The number in a line."""
        sent = "".join(f"; after {name} {value:.3g}" for name, value in self.channels.items())
        return f"{self.task}, {self.name}: {self.value:.3g}{sent}."

    def record(self) -> dict[str, Any]:
        """Return it for JSON; what is no finite number is None."""
        value, *sent = (round(each, 6) if isfinite(each) else None for each in (self.value, *self.channels.values()))
        channels = dict(zip(self.channels, sent, strict=True))
        return {"task": self.task, "name": self.name, "value": value, "channels": channels}


def value_findings(
    said: Mapping[str, Sequence[Mapping[str, Tensor]]], channels: Sequence[str], images: int
) -> list[tuple[ValueFinding, ...]]:
    """Return each image's numbers.

    Args:
        said: Task -> of the images themselves, then after each channel: name -> (N,) numbers.
        channels: The channels' names.
        images: N.

    Example:
        >>> said = {"severity": [{"findings": torch.tensor([2.0, 0.0])}, {"findings": torch.tensor([1.5, 0.0])}]}
        >>> [image[0].text for image in value_findings(said, ["whatsapp"], images=2)]
        ['severity, findings: 2; after whatsapp 1.5.', 'severity, findings: 0; after whatsapp 0.']
    """
    by_image: list[list[ValueFinding]] = [[] for _ in range(images)]
    for task, sides in said.items():
        for name in sides[0]:
            rows = torch.stack([values[name].float() for values in sides], dim=1).tolist()
            for found, (own, *sent) in zip(by_image, rows, strict=True):
                found.append(ValueFinding(task, name, own, dict(zip(channels, sent, strict=True))))
    return [tuple(found) for found in by_image]


class Box(NamedTuple):
    """A predicted box: corners as shares of the width and height of what the network sees, and its score in [0, 1]."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes of one task.

    Attributes:
        task: The task.
        original: On the image itself, best first.
        channels: After each channel.

    Example:
        >>> box = Box(0.1, 0.1, 0.5, 0.5, score=0.9)
        >>> found = FoundBoxes("rsna_boxes", [box], {"whatsapp": []})
        >>> found.unstable, found.text
        (['whatsapp'], 'rsna_boxes: 1 box; after whatsapp 0 boxes, overlap 0.00.')
    """

    task: str
    original: list[Box]
    channels: Mapping[str, list[Box]]

    def overlap(self, channel: str) -> float:
        """Return how far the boxes after a channel are the same, in [0, 1] (:func:`.sides_iou`); NaN without a box."""
        return sides_iou(_as_tensors(self.original), _as_tensors(self.channels[channel]))

    @property
    def unstable(self) -> list[str]:
        """The channels after which there is no box any more, or one where there was none."""
        return [name for name, boxes in self.channels.items() if bool(boxes) != bool(self.original)]

    @property
    def text(self) -> str:
        """The boxes in a line."""
        parts = [f"{self.task}: {_count(self.original)}"]
        for name, boxes in self.channels.items():
            overlap = f", overlap {self.overlap(name):.2f}" if boxes or self.original else ""
            parts.append(f"after {name} {_count(boxes)}{overlap}")
        return f"{'; '.join(parts)}."

    def record(self, size: tuple[int, int], top: int) -> dict[str, Any]:
        """Return it for JSON, boxes in pixels of the image.

        Args:
            size: Width and height of the image.
            top: Rows that are cut off at its top.
        """
        width, height = size[0], size[1] - top

        def in_pixels(box: Box) -> dict[str, Any]:
            corners = (box.x1 * width, box.y1 * height + top, box.x2 * width, box.y2 * height + top)
            return {"xyxy": [round(value, 1) for value in corners], "score": round(box.score, 6)}

        return {
            "task": self.task,
            "boxes": [in_pixels(box) for box in self.original],
            "channels": {name: [in_pixels(box) for box in boxes] for name, boxes in self.channels.items()},
        }


def to_boxes(prediction: Mapping[str, Tensor], size: int, score: float) -> list[Box]:
    """Return the boxes of one image whose score suffices, best first.

    Args:
        prediction: ``boxes`` (n, 4) float xyxy in input pixels, ``scores`` (n,).
        size: Side of the input.
        score: The lowest score.

    Example:
        >>> to_boxes({"boxes": torch.tensor([[0.0, 8.0, 16.0, 32.0]]), "scores": torch.tensor([0.75])}, 32, 0.5)
        [Box(x1=0.0, y1=0.25, x2=0.5, y2=1.0, score=0.75)]
    """
    keep = prediction["scores"] >= score
    boxes, scores = (prediction["boxes"][keep] / size).tolist(), prediction["scores"][keep].tolist()
    return [Box(*box, score=value) for box, value in zip(boxes, scores, strict=True)]


def _as_tensors(boxes: list[Box]) -> dict[str, Tensor]:
    return {"boxes": torch.tensor([box[:4] for box in boxes]).reshape(-1, 4)}


def _count(boxes: list[Box]) -> str:
    return f"{len(boxes)} box{'es' if len(boxes) != 1 else ''}"
