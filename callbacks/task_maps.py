"""What a network answers to both sides of image pairs in several tasks, by one forward of its base network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from callbacks.pair_maps import ExplainedSide, explained_sides
from experiments.batch import Pair
from experiments.schema import Robustness, Task, TaskKind, ThresholdRule
from explain.cam import Cam
from explain.task_decisions import TaskDecisions

BoxSides = tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]  # predictions of originals, of received images
Sides = tuple[ExplainedSide, ExplainedSide] | BoxSides


class TaskMaps:
    """Ask any LightningModule that has ``features(images)`` and ``head(task)`` about pairs, in several tasks.

    A classification head is explained by the engine of the settings. The head of a box task maps all feature maps to
    its output, and has ``decode(output)``: a dictionary with ``boxes`` and ``scores`` for each image. Unless
    ``robustness.thresholds`` is ``fixed``, the module's ``label_thresholds`` (task -> label -> threshold) decide.

    Args:
        robustness: The definitions' settings.
        tasks: The tasks that may be asked.

    Example:
        Two tasks that read the brightness; the phone makes the image dark.

        >>> class Brightness(L.LightningModule):
        ...     def features(self, images):
        ...         return [images / 255 - 0.5]
        ...
        ...     def head(self, task):
        ...         return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> tasks = [Task(name, "mine", labels=["bright"]) for name in ("first", "second")]
        >>> bright = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
        >>> pair = Pair(bright, bright // 5, torch.ones(1), torch.ones(1, 8, 8, dtype=torch.bool), ["a.png"])
        >>> sides = TaskMaps(Robustness(), tasks).ask(Brightness(), pair, ["first", "second"])
        >>> {name: [round(side.logits.item(), 2) for side in sides[name]] for name in sides}
        {'first': [0.5, -0.3], 'second': [0.5, -0.3]}
    """

    def __init__(self, robustness: Robustness, tasks: Sequence[Task]) -> None:
        self.robustness = robustness
        self.tasks = {task.name: task for task in tasks}
        self.cam = Cam(robustness.engine, robustness.layer)

    def decisions(self, module: L.LightningModule) -> dict[str, TaskDecisions]:
        """Return how each classification task decides, by the thresholds that the module has chosen, if any."""
        chosen: Mapping[str, Mapping[str, float]] = {}
        if self.robustness.thresholds is not ThresholdRule.fixed:
            chosen = getattr(module, "label_thresholds", {})
        return {
            name: TaskDecisions.of(task, self.robustness, chosen.get(name))
            for name, task in self.tasks.items()
            if task.kind is not TaskKind.boxes
        }

    def ask(
        self,
        module: L.LightningModule,
        pair: Pair,
        names: Sequence[str],
        decisions: Mapping[str, TaskDecisions] | None = None,
        trainer: L.Trainer | None = None,
    ) -> dict[str, Sides]:
        """Return the answers to a batch of B pairs.

        Args:
            module: In eval mode (:func:`.undisturbed`).
            pair: The pairs, on any device.
            names: The tasks.
            decisions: Of :meth:`decisions`; None: they are read from the module.
            trainer: Gives the precision; None: as it is.

        Returns:
            Task -> originals and received images, on the module's device: :class:`.ExplainedSide` each, or of a box
            task B predictions each.
        """
        decisions = self.decisions(module) if decisions is None else decisions
        images = torch.cat([pair.original, pair.received]).to(module.device, non_blocking=True)
        size = (images.shape[-2], images.shape[-1])
        answers: dict[str, Sides] = {}
        with nullcontext() if trainer is None else trainer.precision_plugin.forward_context():
            maps = self._maps(module, images, names)
            for name in names:
                if name in decisions:
                    decision, target = decisions[name].explained
                    last = maps[-1] if self.cam.reads_last_map else None
                    cam = self.cam.explain(module, name, images, decision, [target], last)[target]
                    answers[name] = explained_sides(cam, size)
                else:
                    answers[name] = _ask_boxes(module, name, maps)
        return answers

    def _maps(self, module: L.LightningModule, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Return the base network's maps, where a task asks for them; some engines run the network themselves."""
        has_boxes = any(self.tasks[name].kind is TaskKind.boxes for name in names)
        if not (has_boxes or self.cam.reads_last_map):
            return []
        with torch.no_grad():
            return cast(Any, module).features(images)


@torch.no_grad()
def _ask_boxes(module: L.LightningModule, name: str, maps: list[Tensor]) -> BoxSides:
    head = cast(Any, module).head(name)  # its methods are any attributes to a type checker
    predictions = [{key: value.cpu() for key, value in image.items()} for image in head.decode(head(maps))]
    half = len(predictions) // 2
    return predictions[:half], predictions[half:]
