"""The lung U-Net (paper 001: Lung segmentation with U-Net), by segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from experiments.batch import LungBatch
from experiments.errors import UserError
from experiments.load import from_dict, to_dict
from experiments.lungs_schema import LungData, LungsExperiment
from experiments.models.schema import Normalisation
from experiments.secrets import hide_in_values
from lightning_modules.checkpoint import Checkpoint, fill_weights, read_checkpoint
from lightning_modules.lungs.encoder import build_unet, encoder_normalisation, load_encoder_weights
from lightning_modules.lungs.segmentation import Segmentation, tidy
from lightning_modules.networks.normalise import Normalise
from lightning_modules.optimizers import build_optimizer, build_scheduler

CLASSES = ("background", "lung")
_CHECKPOINT_KEY = "lungs_experiment"
_POSE_WEIGHT = 0.2


class Logits(NamedTuple):
    """What the network answers.

    Attributes:
        areas: (N, 1 or 2, H, W): lungs, and the heart where the network draws it.
        poses: (N, P) of :data:`~experiments.lungs.poses.POSES`; None: the network does not say.
    """

    areas: Tensor
    poses: Tensor | None


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
        >>> lungs = unet.segment(torch.zeros(2, 1, 64, 64, dtype=torch.uint8)).lungs
        >>> lungs.shape, lungs.dtype
        (torch.Size([2, 64, 64]), torch.float32)
    """

    def __init__(self, experiment: LungsExperiment, *, pretrained: bool = True) -> None:
        super().__init__()
        self.experiment = experiment
        if experiment.data.image_size % 32 or experiment.data.image_size <= 0:
            raise UserError(f"data.image_size: a U-Net needs a multiple of 32, not {experiment.data.image_size}")

        # the network: images, logits, loss
        self.normalise = Normalise(encoder_normalisation(experiment.model))
        self.network = build_unet(experiment.model)
        if pretrained:
            load_encoder_weights(self.network.encoder, experiment.model)
        self.network.to(memory_format=torch.channels_last)  # on CPUs twice as fast
        from segmentation_models_pytorch.losses import DiceLoss  # the encoder has imported its package

        self.dice = DiceLoss("binary")

        # scores over all images, and of each folder where there are several
        self.folders = list(experiment.data.folders)
        several = range(len(self.folders)) if len(self.folders) > 1 else ()
        scores = nn.ModuleDict({str(index): _table_2() for index in ("all", *several)})
        self.scores = cast("Mapping[str, MetricCollection]", scores)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels that it was trained at."""
        return self.experiment.data.image_size

    @property
    def conventions(self) -> frozenset[str]:
        """``in``, and ``out`` where it draws the heart."""
        return frozenset({"in", "out"}) if self.experiment.model.heart else frozenset({"in"})

    def forward(self, images: Tensor) -> Logits:
        """Return the logits of (N, 1, H, W) uint8 images; H and W are multiples of 32."""
        x = self.normalise(images).contiguous(memory_format=torch.channels_last)
        answer = self.network(x)
        return Logits(*answer) if isinstance(answer, tuple) else Logits(answer, None)

    @torch.no_grad()
    def segment(self, images: Tensor) -> Segmentation:
        """Return lungs, heart and poses, as far as the experiment's ``model`` has them; call it in eval mode.

        Probabilities of lungs and heart are the mean over the image and its mirror image.

        Args:
            images: (N, 1, H, W) uint8 on the module's device; best at the size that it was trained at.
        """
        logits = self(images)
        areas = (logits.areas.sigmoid() + self(images.flip(-1)).areas.flip(-1).sigmoid()) / 2
        return Segmentation(
            lungs=tidy(areas[:, 0], count=2),
            heart=tidy(areas[:, 1], count=1) if self.experiment.model.heart else None,
            poses=None if logits.poses is None else logits.poses.softmax(dim=1),
        )

    def training_step(self, batch: LungBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._loss(self(batch.images), batch)
        self.log("train/loss", loss.detach(), batch_size=len(batch.images))
        return loss

    def validation_step(self, batch: LungBatch, batch_idx: int) -> None:
        """Add a batch to the epoch's scores."""
        self._evaluate(batch, "val")

    def test_step(self, batch: LungBatch, batch_idx: int) -> None:
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
        """Save the experiment beside the weights, as plain containers, with the normalisation that they know."""
        model = replace(self.experiment.model, normalisation=self.normalise.settings)
        checkpoint[_CHECKPOINT_KEY] = hide_in_values(to_dict(replace(self.experiment, model=model)))

    def export(self, path: Path) -> None:
        """Write what :meth:`load` needs and no more: the network in half precision, no word about its data.

        Vectors (batch normalisation, biases) stay in single precision: a running variance can be out of half's range.

        Args:
            path: The checkpoint to write.
        """
        normalisation = self.normalise.settings
        model = replace(self.experiment.model, encoder_weights=None, weights=None, normalisation=normalisation)
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
        experiment = from_dict(LungsExperiment, checkpoint[_CHECKPOINT_KEY])
        if "normalisation" not in checkpoint[_CHECKPOINT_KEY].get("model", {}):  # no setting yet: all had ImageNet's
            experiment = replace(experiment, model=replace(experiment.model, normalisation=Normalisation()))
        module = cls(experiment, pretrained=False)
        fill_weights(module, checkpoint, path)
        return module.eval()

    def _loss(self, logits: Logits, batch: LungBatch) -> Tensor:
        """Cross-entropy plus Dice of each area, over the images of which it is known; cross-entropy of the poses."""
        upright = batch.poses == 0
        loss = self._area_loss(logits.areas[:, 0], batch.lungs, upright)
        if self.experiment.model.heart:
            loss = loss + self._area_loss(logits.areas[:, 1], batch.hearts, upright & batch.has_heart)
        if logits.poses is not None:
            loss = loss + _POSE_WEIGHT * cross_entropy(logits.poses, batch.poses)
        return loss

    def _area_loss(self, logits: Tensor, masks: Tensor, is_known: Tensor) -> Tensor:
        if not is_known.any():
            return 0 * logits.sum()  # no parameter is left without a gradient
        logits, target = logits[is_known], masks[is_known].to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, target) + self.dice(logits[:, None], target[:, None])

    def _evaluate(self, batch: LungBatch, stage: str) -> None:
        loss = self._loss(self(batch.images), batch)
        self.log(f"{stage}/loss", loss, batch_size=len(batch.images), sync_dist=True)
        answers, truth = (self.segment(batch.images).lungs >= 0.5).long(), batch.lungs.long()
        self.scores["all"].update(answers, truth)
        if len(self.folders) > 1:
            for index in batch.folders.unique().tolist():
                rows = batch.folders == index
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
