"""Grad-CAM overlays of a fixed few image pairs, a picture each at every validation epoch."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import default_collate
from typing_extensions import override

from callbacks.loggers.adapters import takers
from callbacks.loggers.contracts import LoggedAt, LogsPictures
from callbacks.pair_maps import ExplainedSide, PairMaps, pair_source, require_pairs, undisturbed
from datamodules.pairs import balanced_draw
from experiments.batch import Pair, mark_missing_masks
from experiments.schema import Robustness, Task
from explain.heat import heat_region
from explain.picture import Side, draw_pair
from metrics.saliency import iol


class GradCamOverlays(Callback):
    """Draw ``robustness.overlays`` pairs, the same at every epoch, for every logger that takes pictures.

    The keys are ``gradcam/00`` ... in validation and ``gradcam/test/00`` ... in test, the same at every epoch, so that
    a UI shows a slider. The loggers are those of MLflow, TensorBoard, W&B and CSV files, and whatever else is a
    :class:`.LogsPictures`. Drawn by the first process alone, without disturbing module or random state. Needs what
    :class:`.RobustnessCallback` needs.

    Args:
        robustness: The definitions' settings and the number of pictures.
        task: The classification task that decides (``robustness.task``).
        seed: Chooses the pairs, as many that show ``robustness.label`` as that do not. Runs that are compared need the
            same one (so not the run's own seed): the same key then shows the same patient.

    Example:
        A network that takes bright images for COVID-19, and a pair that the phone made dark:

        >>> import torch
        >>> class Brightness(L.LightningModule):
        ...     def features(self, images):
        ...         return [images / 255 - 0.5]
        ...
        ...     def head(self, task):
        ...         return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> bright = torch.full((1, 1, 32, 32), 200, dtype=torch.uint8)
        >>> pair = Pair(bright, bright // 2, torch.tensor([1.0]), torch.ones(1, 32, 32, dtype=torch.bool), ["a.png"])
        >>> overlays = GradCamOverlays(Robustness(), Task(name="covidx", labels=["COVID-19"]))
        >>> pictures = overlays.draw_pictures(L.Trainer(accelerator="cpu", logger=False), Brightness(), pair)
        >>> [(picture.shape, picture.dtype.name) for picture in pictures]
        [((602, 1042, 3), 'uint8')]
    """

    def __init__(self, robustness: Robustness, task: Task, seed: int = 0) -> None:
        self.robustness = robustness
        self.maps = PairMaps(robustness, task)
        self.seed = seed
        self._chosen: dict[str, Pair] = {}  # by split

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.maps.cam.check(pl_module)
        require_pairs(trainer)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log_pictures(trainer, pl_module, "val", "gradcam")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log_pictures(trainer, pl_module, "test", "gradcam/test")

    def draw_pictures(self, trainer: L.Trainer, module: L.LightningModule, pair: Pair) -> list[np.ndarray]:
        """Return one (H, W, 3) uint8 RGB picture a pair.

        Args:
            trainer: Gives the precision, and the epoch that stands below.
            module: In eval mode.
            pair: A batch of pairs, on any device.
        """
        explained = self.maps(trainer, module, pair)
        original = self._sides(pair.original, explained[0], pair.lung)
        received = self._sides(pair.received, explained[1], pair.lung)
        return [
            draw_pair(
                original[row],
                received[row],
                pair.lung[row].cpu().numpy(),
                label=float(pair.label[row]),
                caption=f"{name}   ·   epoch {trainer.current_epoch + 1}",
                decision=self.maps.decision,
                settings=self.robustness,
            )
            for row, name in enumerate(pair.id)
        ]

    def _log_pictures(self, trainer: L.Trainer, module: L.LightningModule, split: str, key: str) -> None:
        loggers = takers(trainer, LogsPictures)
        if not (trainer.is_global_zero and loggers and self.robustness.overlays):
            return

        with undisturbed(module):
            if split not in self._chosen:
                dataset = pair_source(trainer).pair_dataset(split)
                if dataset is None or not len(dataset.labels):
                    return
                rows = balanced_draw(dataset.labels, self.robustness.overlays, self.seed)
                self._chosen[split] = default_collate([mark_missing_masks(dataset[int(row)]) for row in rows])
            pictures = self.draw_pictures(trainer, module, self._chosen[split])

        named = {f"{key}/{number:02d}": picture for number, picture in enumerate(pictures)}
        for logger in loggers:
            logger.log_pictures(named, LoggedAt.of(trainer, split))

    def _sides(self, images: Tensor, explained: ExplainedSide, lung: Tensor) -> list[Side]:
        """Return what is drawn of one side of each pair, on the CPU."""
        logits, heat = explained.logits.cpu(), explained.heat.cpu()
        region = heat_region(heat, self.robustness.region_threshold)
        columns = (images[:, 0].cpu().numpy(), heat.numpy(), region.numpy())
        decision, cells = self.maps.decision, (explained.raw.shape[1], explained.raw.shape[2])
        inside = iol(region, lung.cpu()) if lung.shape[-1] else torch.full((len(region),), torch.nan)
        numbers = (decision.probability(logits), decision.positive(logits), inside)
        rows = zip(*columns, *(column.tolist() for column in numbers), strict=True)
        return [Side(*row, cells=cells) for row in rows]
