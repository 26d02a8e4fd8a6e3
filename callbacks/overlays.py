"""Grad-CAM overlays of a fixed few image pairs, a picture each at every validation epoch."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import default_collate
from typing_extensions import override

from callbacks.pair_maps import ExplainedSide, PairMaps, pair_source, require_pairs, undisturbed
from datamodules.pairs import balanced_draw
from experiments.batch import Pair
from experiments.schema import Robustness, Task
from explain.heat import heat_region
from explain.picture import Side, draw_pair
from metrics.saliency import iol


class GradCamOverlays(Callback):
    """Draws ``robustness.overlays`` pairs, the same at every epoch, and gives them to every logger with ``log_image``.

    The keys are ``gradcam/00`` ... in validation and ``gradcam/test/00`` ... in test, the step is the epoch: a tracking
    UI shows a slider. Drawn by the first process alone, without disturbing module or random state. Needs what
    :class:`.RobustnessCallback` needs.

    Args:
        robustness: The definitions' settings and the number of pictures.
        task: The classification task that decides (``robustness.task``).
        seed: Chooses the pairs, as many that show ``robustness.label`` as that do not. Runs that are compared need the
            same one (so not the run's own seed): the same key then shows the same patient.
    """

    def __init__(self, robustness: Robustness, task: Task, seed: int = 0) -> None:
        self.robustness = robustness
        self.maps = PairMaps(robustness, task)
        self.seed = seed
        self._chosen: dict[str, Pair] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.maps.cam.check(pl_module)
        require_pairs(trainer)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val", "gradcam")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer, pl_module, "test", "gradcam/test")

    def _log(self, trainer: L.Trainer, module: L.LightningModule, split: str, key: str) -> None:
        loggers: list[Any] = [logger for logger in trainer.loggers if hasattr(logger, "log_image")]
        if not (trainer.is_global_zero and loggers and self.robustness.overlays):
            return
        with undisturbed(module):
            if split not in self._chosen:
                dataset = pair_source(trainer).pair_dataset(split)
                if dataset is None or not len(dataset.labels):
                    return
                rows = balanced_draw(dataset.labels, self.robustness.overlays, self.seed)
                self._chosen[split] = default_collate([dataset[int(row)] for row in rows])
            pictures = self.pictures(trainer, module, self._chosen[split])
        for number, picture in enumerate(pictures):
            for logger in loggers:
                logger.log_image(key=f"{key}/{number:02d}", images=[picture], step=trainer.current_epoch)

    def pictures(self, trainer: L.Trainer, module: L.LightningModule, pair: Pair) -> list[np.ndarray]:
        """One (H, W, 3) uint8 picture a pair; the module in eval mode."""
        explained = self.maps(trainer, module, pair)
        sides = [self._sides(*side, pair.lung) for side in zip((pair.original, pair.received), explained, strict=True)]
        return [
            draw_pair(
                original,
                received,
                pair.lung[i].cpu().numpy(),
                label=float(pair.label[i]),
                caption=f"{pair.id[i]}   ·   epoch {trainer.current_epoch}",
                decision=self.maps.decision,
                settings=self.robustness,
            )
            for i, (original, received) in enumerate(zip(*sides, strict=True))
        ]

    def _sides(self, images: Tensor, explained: ExplainedSide, lung: Tensor) -> list[Side]:
        logits, heat = explained.logits.cpu(), explained.heat.cpu()
        region = heat_region(heat, self.robustness.region_threshold)
        columns = (images[:, 0].cpu().numpy(), heat.numpy(), region.numpy())
        numbers = (self.maps.decision.probability(logits).tolist(), iol(region, lung.cpu()).tolist())
        return [Side(*row) for row in zip(*columns, *numbers, strict=True)]
