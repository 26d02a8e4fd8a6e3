"""PI, LI and OLS of every task over the pairs of its own source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.distributed as dist

from callbacks.pair_maps import ExplainedSide
from callbacks.task_maps import BoxSides, Sides
from experiments.batch import TaskPairs
from experiments.schema import Robustness, TaskKind
from explain.heat import heat_region
from explain.task_decisions import TaskDecisions
from metrics.intervals import share_interval
from metrics.paired import SIDES, flips
from metrics.saliency import OutOfLungSaliency
from metrics.tasks.box_lungs import BoxesOutOfLungs
from metrics.tasks.instability import TaskInstability
from metrics.tasks.localisation import LOCALISED_IOU, LocalisationInstability, compare_boxes


class TaskRow(NamedTuple):
    """What changed in one pair: 1, 0 or NaN by name, such as a label; "" stands for the whole task."""

    task: str
    patient: str
    changed: dict[str, float]


class TaskScores:
    """Add up the scores of several tasks, batch by batch; equal on all processes when they are computed.

    Args:
        robustness: The definitions' settings.
        decisions: How each classification task decides; a task that is missing here predicts boxes.
        device: Where the network is.
    """

    def __init__(self, robustness: Robustness, decisions: Mapping[str, TaskDecisions], device: torch.device) -> None:
        self.robustness, self.decisions, self.device = robustness, decisions, device
        self.instability: dict[str, TaskInstability] = {}
        self.localisation: dict[str, LocalisationInstability] = {}
        self.saliency: dict[str, dict[str, OutOfLungSaliency]] = {}
        self.rows: list[TaskRow] = []

    def expect(self, kinds: Mapping[str, TaskKind]) -> None:
        """Prepare the tasks, on all processes alike, whichever of them has pairs of which."""
        eta, score = self.robustness.eta, self.robustness.box_score
        for name, kind in kinds.items():
            if kind is TaskKind.boxes:
                self.localisation[name] = LocalisationInstability(score).to(self.device)
                self.saliency[name] = {side: BoxesOutOfLungs(score, eta).to(self.device) for side in SIDES}
            else:
                self.instability[name] = TaskInstability(self.decisions[name]).to(self.device)
                self.saliency[name] = {side: OutOfLungSaliency(eta).to(self.device) for side in SIDES}

    def update(self, batch: TaskPairs, answers: Mapping[str, Sides], lung: torch.Tensor) -> None:
        """Add the answers to a batch of pairs; ``lung`` is on the network's device."""
        for name, sides in answers.items():
            if name in self.localisation:
                self._add_boxes(name, batch, cast(BoxSides, sides), lung)
            else:
                self._add_labels(name, batch, cast("tuple[ExplainedSide, ExplainedSide]", sides), lung)

    def _add_labels(
        self, name: str, batch: TaskPairs, sides: tuple[ExplainedSide, ExplainedSide], lung: torch.Tensor
    ) -> None:
        decisions = self.decisions[name]
        self.instability[name].update(*(side.logits for side in sides))
        for metric, side in zip(self.saliency[name].values(), sides, strict=True):
            metric.update(heat_region(side.heat, self.robustness.region_threshold), lung)

        # which labels flip, and whether any does
        before, after = (decisions.decided(side.logits).cpu().numpy() for side in sides)
        changed = flips(before, after)
        any_label = changed.max(axis=1)  # NaN where a label has no decision
        for patient, task, labels in zip(batch.patients, any_label.tolist(), changed.tolist(), strict=True):
            named = {f"/{label}": flip for label, flip in zip(decisions.labels, labels, strict=True)}
            self.rows.append(TaskRow(name, patient, {"": task} | (named if len(named) > 1 else {})))

    def _add_boxes(self, name: str, batch: TaskPairs, sides: BoxSides, lung: torch.Tensor) -> None:
        truths = [{"boxes": boxes.cpu()} for boxes in batch.boxes]
        self.localisation[name].update(*sides, truths)
        for metric, side in zip(self.saliency[name].values(), sides, strict=True):
            cast(BoxesOutOfLungs, metric).update(side, lung)

        for patient, before, after, truth in zip(batch.patients, *sides, truths, strict=True):
            change = compare_boxes(before, after, truth, score=self.robustness.box_score)
            if change is not None and change.is_known:
                unstable = (change.lost | change.gained).tolist()
                named = {f"/{t:g}": float(one) for t, one in zip(LOCALISED_IOU, unstable, strict=True)}
                self.rows.append(TaskRow(name, patient, named))

    def compute(self) -> dict[str, float]:
        """Return the scores over all pairs of all processes by the names that they are logged under; no NaN."""
        figures: dict[str, float] = {}
        for name, instability in self.instability.items():
            figures |= _name_instability(f"pi/{name}", self.decisions[name].labels, instability.compute())
        for name, localisation in self.localisation.items():
            figures |= {
                f"li/{name}/{key.removesuffix('/score')}": value for key, value in localisation.compute().items()
            }
        for name, sides in self.saliency.items():
            for side, metric in sides.items():
                figures |= _name_saliency(f"ols/{name}/{side}", metric.compute())

        figures |= self._intervals()
        return {key: float(value) for key, value in figures.items() if not isnan(value)}

    def _intervals(self) -> dict[str, float]:
        """Return the 95 % intervals of PI and LI over patients."""
        columns: defaultdict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
        for row in gather(self.rows):
            for part, value in row.changed.items():
                columns[row.task, part].append((row.patient, value))

        ends: dict[str, float] = {}
        for (task, part), rows in sorted(columns.items()):
            patients, values = zip(*sorted(rows), strict=True)
            codes = np.unique(patients, return_inverse=True)[1]
            _, low, high = share_interval(np.array(values), codes, scale=100)
            score = "li" if task in self.localisation else "pi"
            ends |= {f"{score}/{task}{part}/ci_low": low, f"{score}/{task}{part}/ci_high": high}
        return ends


def gather(rows: Sequence[Any]) -> list[Any]:
    """Return the rows of all processes, the first one's first."""
    if not (dist.is_available() and dist.is_initialized()):
        return list(rows)
    shares: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, list(rows))
    return [row for share in shares for row in share]


def _name_instability(prefix: str, labels: Sequence[str], scores: Mapping[str, float]) -> dict[str, float]:
    """Return a task's PI under the task's name, and a label's under the label's; of one label what is its alone."""
    named = {prefix: scores["score"]} | {
        f"{prefix}/{key}": scores[key] for key in ("mean_abs_change", "pairs", "undefined")
    }
    kept = ["flips_pos_to_neg", "flips_neg_to_pos"] + (["mean_abs_change", "pairs"] if len(labels) > 1 else [])
    for label in labels:
        named[f"{prefix}/{label}"] = scores[f"{label}/score"]
        named |= {f"{prefix}/{label}/{key}": scores[f"{label}/{key}"] for key in kept}
    return named


def _name_saliency(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Return OLS under the side's name, mean IOL and numbers below it."""
    kept = {"score": prefix, "mean": f"{prefix}/mean_iol"}
    kept |= {key: f"{prefix}/{key}" for key in ("n", "no_region", "no_lung")}
    return {name: scores[key] for key, name in kept.items()}
