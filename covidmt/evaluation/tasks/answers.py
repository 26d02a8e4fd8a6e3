"""What a network answers to the pairs of every task's own source, with the controls of PI and OLS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from callbacks.pair_maps import ExplainedSide
from callbacks.task_maps import BoxSides, Sides, TaskMaps
from covidmt.evaluation.perturbations import white_noise
from experiments.batch import TaskPairs
from explain.heat import heat_region
from explain.task_decisions import TaskDecisions
from lightning_modules.multitask import MultiTaskModule
from metrics.controls import centre_disc_iol, pack
from metrics.paired import SIDES
from metrics.saliency import iol
from metrics.tasks.box_lungs import box_regions


class LabelRows(NamedTuple):
    """Answers of a classification task to n pairs.

    Attributes:
        ids: Names of the pairs.
        patients: Their patients.
        logits: ``original``, ``received`` and ``noise`` (white noise of the same RMS) -> (n, labels) float32.
        saliency: ``iol_<side>`` and ``disc_<side>`` (of a centre disc of the region's size) -> (n,) float32.
        regions: Side -> (n, words) packed heat-map regions.
        lungs: (n, words) packed lungs.
    """

    ids: list[str]
    patients: list[str]
    logits: dict[str, np.ndarray]
    saliency: dict[str, np.ndarray]
    regions: dict[str, np.ndarray]
    lungs: np.ndarray


class BoxRows(NamedTuple):
    """Answers of a box task to n pairs.

    Attributes:
        ids: Names of the pairs.
        patients: Their patients.
        original: Predictions, ``boxes`` and ``scores``.
        received: The same on the received images.
        noise: The same on originals with white noise of the same RMS.
        truths: True boxes, (t, 4) each.
        inside: Side -> of each pair the shares of its boxes inside the lungs, (boxes,).
    """

    ids: list[str]
    patients: list[str]
    original: list[dict[str, Tensor]]
    received: list[dict[str, Tensor]]
    noise: list[dict[str, Tensor]]
    truths: list[Tensor]
    inside: dict[str, list[np.ndarray]]


class PairAsker:
    """Ask a network about pairs of several sources.

    Args:
        module: The network, in eval mode.
    """

    def __init__(self, module: MultiTaskModule) -> None:
        self.module, self.robustness = module, module.experiment.robustness
        self.maps = TaskMaps(self.robustness, module.experiment.readable)
        self.decisions: Mapping[str, TaskDecisions] = self.maps.decisions(module)

    def ask(self, batch: TaskPairs) -> dict[str, LabelRows | BoxRows]:
        """Return the answers of the batch's tasks, on the CPU."""
        pair = batch.pair
        noisy = pair._replace(received=white_noise(pair.original, pair.received, pair.id))
        answers = self.maps.ask(self.module, pair, batch.tasks, self.decisions)
        control = self.maps.ask(self.module, noisy, batch.tasks, self.decisions)
        return {name: self._rows(name, batch, answers[name], control[name]) for name in batch.tasks}

    def _rows(self, name: str, batch: TaskPairs, sides: Sides, control: Sides) -> LabelRows | BoxRows:
        lung, who = batch.pair.lung, (list(batch.pair.id), batch.patients)
        if name not in self.decisions:
            original, received = cast(BoxSides, sides)
            inside = {
                side: [
                    _inside(image, mask, self.robustness.box_score) for image, mask in zip(images, lung, strict=True)
                ]
                for side, images in zip(SIDES, (original, received), strict=True)
            }
            truths = [boxes.cpu() for boxes in batch.boxes]
            return BoxRows(*who, original, received, cast(BoxSides, control)[1], truths, inside)

        explained = cast("tuple[ExplainedSide, ExplainedSide]", sides)
        noise = cast("tuple[ExplainedSide, ExplainedSide]", control)[1]
        named = dict(zip(("original", "received", "noise"), (*explained, noise), strict=True))
        regions = {side: heat_region(named[side].heat, self.robustness.region_threshold) for side in SIDES}
        saliency = {f"iol_{side}": iol(region, lung).cpu().numpy() for side, region in regions.items()}
        saliency |= {f"disc_{side}": centre_disc_iol(region, lung).cpu().numpy() for side, region in regions.items()}
        return LabelRows(
            *who,
            logits={side: answer.logits.cpu().numpy() for side, answer in named.items()},
            saliency=saliency,
            regions={side: pack(region) for side, region in regions.items()},
            lungs=pack(lung),
        )


def _inside(prediction: Mapping[str, Tensor], lung: Tensor, score: float) -> np.ndarray:
    """Return the share of each box of an image that lies inside the lungs, (boxes,) float32; NaN without lungs."""
    boxes = prediction["boxes"][prediction["scores"] >= score].to(lung.device)
    region = box_regions(boxes, (lung.shape[0], lung.shape[1]))
    return iol(region, lung.expand_as(region)).cpu().numpy()


def join_rows(batches: Sequence[Mapping[str, LabelRows | BoxRows]]) -> dict[str, LabelRows | BoxRows]:
    """Return each task's rows of all batches, one after the other."""
    found: dict[str, list[LabelRows | BoxRows]] = {}
    for batch in batches:
        for name, rows in batch.items():
            found.setdefault(name, []).append(rows)
    return {name: _joined(parts) for name, parts in found.items()}


def _joined(parts: Sequence) -> LabelRows | BoxRows:
    first = parts[0]
    values = []
    for field in first._fields:
        columns = [getattr(part, field) for part in parts]
        if isinstance(columns[0], dict):
            values.append({key: _concatenated([column[key] for column in columns]) for key in columns[0]})
        else:
            values.append(_concatenated(columns))
    return type(first)(*values)


def _concatenated(columns: Sequence) -> list | np.ndarray:
    return (
        np.concatenate(columns) if isinstance(columns[0], np.ndarray) else [each for part in columns for each in part]
    )


def decided(decisions: TaskDecisions, logits: np.ndarray) -> np.ndarray:
    """Return every label's decision, (n, labels) float32 1 / 0 / NaN."""
    return decisions.decided(torch.from_numpy(logits)).numpy()
