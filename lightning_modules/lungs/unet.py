"""The lung U-Net (paper 001: Lung segmentation with U-Net), by segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from experiments.errors import UserError
from experiments.load import from_dict, to_dict
from experiments.lungs_schema import LungData, LungsExperiment
from lightning_modules.checkpoint import Checkpoint, fill_weights, read_checkpoint
from lightning_modules.lungs.encoder import build_unet, load_encoder_weights
from lightning_modules.networks.normalise import Normalise
from lightning_modules.optimizers import build_optimizer, build_scheduler

CLASSES = ("background", "lung")
_CHECKPOINT_KEY = "lungs_experiment"


class LungUNet(LightningModule):
    """Segment the lung fields.

    The loss is cross-entropy plus Dice (the paper names none). After every validation and test epoch the scores of the
    paper's Table 2 are logged, over all pixels of the masks that :meth:`segment` gives: ``<stage>/<class>/f1``,
    ``jaccard``, ``precision``, ``recall`` with class ``lung`` or ``background``, and ``<stage>/accuracy``; where there
    are several folders, also of each: ``<stage>/<folder>/<class>/f1`` ...

    Args:
        experiment: The experiment.
        pretrained: Load the encoder weights that it names; not needed when a checkpoint's follow.

    Raises:
        UserError: An encoder, weights or an image size that cannot be used.

    Example:
        >>> from experiments.lungs_schema import LungModel
        >>> model = LungModel(encoder="resnet18", encoder_weights=None, decoder_channels=[16, 8, 8, 4, 4])
        >>> unet = LungUNet(LungsExperiment(name="small", data=LungData(image_size=64), model=model)).eval()
        >>> masks = unet.segment(torch.zeros(2, 1, 64, 64, dtype=torch.uint8))
        >>> masks.shape, masks.dtype
        (torch.Size([2, 64, 64]), torch.bool)
    """

    def __init__(self, experiment: LungsExperiment, *, pretrained: bool = True) -> None:
        super().__init__()
        self.experiment = experiment
        if experiment.data.image_size % 32 or experiment.data.image_size <= 0:
            raise UserError(f"data.image_size: a U-Net needs a multiple of 32, not {experiment.data.image_size}")

        # the network: images, logits, loss
        self.normalise = Normalise()
        self.network = build_unet(experiment.model)
        if pretrained:
            load_encoder_weights(self.network.encoder, experiment.model)
        self.network.to(memory_format=torch.channels_last)  # on CPUs twice as fast
        self.dice = smp.losses.DiceLoss("binary")

        # scores over all images, and of each folder where there are several
        self.folders = list(experiment.data.folders)
        several = range(len(self.folders)) if len(self.folders) > 1 else ()
        scores = nn.ModuleDict({str(index): _table_2() for index in ("all", *several)})
        self.scores = cast("Mapping[str, MetricCollection]", scores)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels that it was trained at."""
        return self.experiment.data.image_size

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, H, W) logits of (N, 1, H, W) uint8 images; H and W are multiples of 32."""
        x = self.normalise(images).contiguous(memory_format=torch.channels_last)
        return self.network(x).squeeze(1)

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """Return lung masks: the two largest connected areas of probability 0.5 and above.

        The probability is the mean over the image and its mirror image. Call it in eval mode.

        Args:
            images: (N, 1, H, W) uint8 on the module's device; best at the size that it was trained at.

        Returns:
            (N, H, W) bool.
        """
        mirrored = self(images.flip(-1)).flip(-1)
        lungs = (self(images).sigmoid() + mirrored.sigmoid() >= 1).cpu().numpy()
        return torch.from_numpy(np.stack([two_largest_areas(mask) for mask in lungs])).to(images.device)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of (N, 1, S, S) uint8 images, (N, S, S) bool masks, (N,) folder indices."""
        images, masks, _ = batch
        loss = self._loss(self(images), masks)
        self.log("train/loss", loss.detach(), batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Add a batch to the epoch's scores."""
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Add a batch to the epoch's scores."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the epoch's scores."""
        self._log_scores("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the experiment's optimizer and schedule.

        Raises:
            UserError: One of them, or an option, does not exist.
        """
        optimizer = build_optimizer(self.parameters(), self.experiment.optimizer)
        scheduler = build_scheduler(optimizer, self.experiment.scheduler)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save the experiment beside the weights, as plain containers."""
        checkpoint[_CHECKPOINT_KEY] = to_dict(self.experiment)

    def export(self, path: Path) -> None:
        """Write what :meth:`load` needs and no more: the network in half precision, no word about its data.

        Vectors (batch normalisation, biases) stay in single precision: a running variance can be out of half's range.

        Args:
            path: The checkpoint to write.
        """
        model = replace(self.experiment.model, encoder_weights=None, weights=None)
        bare = LungsExperiment(name=self.experiment.name, data=LungData(image_size=self.image_size), model=model)
        weights = {name: t.half() if t.ndim > 1 else t for name, t in self.state_dict().items()}
        torch.save({_CHECKPOINT_KEY: to_dict(bare), "state_dict": weights}, path)

    @classmethod
    def load(cls, path: str | Path) -> LungUNet:
        """Return the network of a checkpoint, in eval mode on the CPU.

        Args:
            path: A checkpoint of ``covidmt lungs train`` or ``covidmt lungs export``.

        Raises:
            UserError: No such file, a truncated one, or another kind of checkpoint.
        """
        checkpoint = read_checkpoint(path, "covidmt lungs train")
        if _CHECKPOINT_KEY not in checkpoint:
            raise UserError(f"{path}: is not a checkpoint of `covidmt lungs train`")
        module = cls(from_dict(LungsExperiment, checkpoint[_CHECKPOINT_KEY]), pretrained=False)
        fill_weights(module, checkpoint, path)
        return module.eval()

    def _loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        target = masks.to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, target) + self.dice(logits[:, None], target[:, None])

    def _evaluate(self, batch: tuple[Tensor, Tensor, Tensor], stage: str) -> None:
        images, masks, folders = batch
        self.log(f"{stage}/loss", self._loss(self(images), masks), batch_size=len(images), sync_dist=True)
        answers, truth = self.segment(images).long(), masks.long()
        self.scores["all"].update(answers, truth)
        if len(self.folders) > 1:
            for index in folders.unique().tolist():
                rows = folders == index
                self.scores[str(index)].update(answers[rows], truth[rows])

    def _log_scores(self, stage: str) -> None:
        for index, scores in self.scores.items():
            prefix = stage if index == "all" else f"{stage}/{self.folders[int(index)]}"
            values = scores.compute()
            scores.reset()
            if not values["accuracy"]:
                continue  # no image of this folder is in the split

            logged = {f"{prefix}/accuracy": values.pop("accuracy")}
            for name, by_class in values.items():
                logged |= {f"{prefix}/{label}/{name}": v for label, v in zip(CLASSES, by_class, strict=True)}
            self.log_dict(logged, batch_size=1)


def two_largest_areas(mask: np.ndarray) -> np.ndarray:
    """Return the two largest 8-connected areas of a mask, as a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.

    Example:
        >>> two_largest_areas(np.array([[True, True, False, True, False, True, True]])).astype(int)
        array([[1, 1, 0, 0, 0, 1, 1]])
    """
    count, areas, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 3:  # the background and at most two areas
        return mask
    largest = 1 + np.argsort(stats[1:, cv2.CC_STAT_AREA])[-2:]
    return np.isin(areas, largest)


def _table_2() -> MetricCollection:
    """The scores of the paper's Table 2, over pixels; ``average=None``: one value a class."""
    per_class = {
        "f1": MulticlassF1Score,
        "jaccard": MulticlassJaccardIndex,
        "precision": MulticlassPrecision,
        "recall": MulticlassRecall,
    }
    metrics = {name: metric(len(CLASSES), average=None) for name, metric in per_class.items()}
    return MetricCollection(metrics | {"accuracy": MulticlassAccuracy(len(CLASSES), average="micro")})
