"""Both predictions and both heat maps of image pairs, from which the robustness scores and the overlays are made."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils.data import DataLoader

from experiments.batch import Pair
from experiments.errors import UserError
from experiments.schema import Robustness, Target, Task
from explain.cam import Cam
from explain.decision import Decision
from explain.gradcam import GradCam
from explain.heat import heat_map


class SplitPairs(Protocol):
    """A split's pairs; its items are unstacked :class:`Pair` tuples."""

    ids: list[str]
    labels: np.ndarray

    def __getitem__(self, row: int) -> Pair: ...


@runtime_checkable
class PairSource(Protocol):
    """What a datamodule must have; both methods return None where the split has no pairs."""

    def pair_dataset(self, split: str) -> SplitPairs | None:
        """Return all pairs of ``val`` or ``test``."""
        ...

    def pair_dataloader(self, split: str) -> DataLoader[Any] | None:
        """Return this process's share of them in batches; every pair is in one process, once."""
        ...


class ExplainedSide(NamedTuple):
    """One side of a batch of pairs.

    Attributes:
        logits: (B, number of labels) float32.
        heat: (B, S, S) float32 in [0, 1], see :func:`explain.heat.heat_map`.
        raw: (B, h, w) float32 >= 0, the engine's map that ``heat`` is made from.
    """

    logits: Tensor
    heat: Tensor
    raw: Tensor


class PairMaps:
    """Explain pairs by any LightningModule that has ``features(images)`` and ``head(task)``.

    Args:
        robustness: The definitions' settings.
        task: The classification task that decides.

    Raises:
        UserError: Settings that make no decision or no region, or an unknown engine.

    Example:
        A network that takes bright images for COVID-19: its last map is the brightness itself, and its logit the mean.

        >>> class Brightness(L.LightningModule):
        ...     def features(self, images):
        ...         return [images / 255 - 0.5]
        ...
        ...     def head(self, task):
        ...         return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> maps = PairMaps(Robustness(), Task(name="covidx", labels=["COVID-19"]))
        >>> images = torch.full((1, 1, 32, 32), 255, dtype=torch.uint8)
        >>> explanation = maps.explain(Brightness(), images)
        >>> explanation.logits, explanation.map.shape
        (tensor([[0.5000]]), torch.Size([1, 32, 32]))
    """

    def __init__(self, robustness: Robustness, task: Task) -> None:
        self.decision = Decision.of(task, robustness)
        self.cam = Cam(robustness.engine, robustness.layer)
        self.task, self.labels = task.name, task.labels
        self.target = robustness.target

        if not 0 < robustness.region_threshold <= 1:
            raise UserError(f"robustness.region_threshold: {robustness.region_threshold} is not above 0 and at most 1")
        if not 0 <= robustness.eta <= 1:
            raise UserError(f"robustness.eta: {robustness.eta} is not between 0 and 1")

    def __call__(
        self, trainer: L.Trainer, module: L.LightningModule, pair: Pair
    ) -> tuple[ExplainedSide, ExplainedSide]:
        """Explain both sides by one forward of the base network and one pass of the head, in the Trainer's precision.

        Args:
            trainer: Gives the precision.
            module: In eval mode (:func:`undisturbed`).
            pair: A batch of B pairs, on any device.

        Returns:
            Originals and received images, on the module's device.
        """
        images = torch.cat([pair.original, pair.received]).to(module.device, non_blocking=True)
        with trainer.precision_plugin.forward_context():
            cam = self.explain(module, images)
        return explained_sides(cam, (images.shape[-2], images.shape[-1]))

    def explain(self, module: nn.Module, images: Tensor) -> GradCam:
        """Return raw maps and predictions of any images, without a Trainer.

        Args:
            module: In eval mode; the caller opens the precision's context.
            images: (N, 1, S, S) uint8 on the module's device.
        """
        return self.cam(module, self.task, images, self.decision, self.target)

    def explain_all(self, module: nn.Module, images: Tensor) -> dict[Target, GradCam]:
        """Return :meth:`explain` for every target; by ``gradcam`` from one forward of the network.

        Args:
            module: In eval mode; the caller opens the precision's context.
            images: (N, 1, S, S) uint8 on the module's device.
        """
        return self.cam.explain(module, self.task, images, self.decision, list(Target))


def explained_sides(cam: GradCam, size: tuple[int, int]) -> tuple[ExplainedSide, ExplainedSide]:
    """Return originals and received images of a batch that holds the ones before the others.

    Args:
        cam: Of both sides.
        size: Height and width of the images.
    """
    heat = heat_map(cam.map, size)
    original, received = zip(cam.logits.chunk(2), heat.chunk(2), cam.map.chunk(2), strict=True)
    return ExplainedSide(*original), ExplainedSide(*received)


@contextmanager
def undisturbed(module: L.LightningModule) -> Generator[None]:
    """Set eval mode inside, and leave every submodule's mode and all random states (a data loader draws one) alone."""
    modes = [(part, part.training) for part in module.modules()]
    with isolate_rng():
        module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training


def pair_source(trainer: L.Trainer) -> PairSource:
    """Return the Trainer's datamodule."""
    return cast(PairSource, getattr(trainer, "datamodule", None))


def require_pairs(trainer: L.Trainer) -> None:
    """Refuse a datamodule before the first epoch rather than after it, as :meth:`.Cam.check` does a module.

    Raises:
        UserError: It lacks a method that PI and OLS need.
    """
    source = pair_source(trainer)
    if not isinstance(source, PairSource):
        what = "the Trainer was given no datamodule; it" if source is None else type(source).__name__
        raise UserError(f"PI and OLS: {what} needs the methods pair_dataset(split) and pair_dataloader(split)")
