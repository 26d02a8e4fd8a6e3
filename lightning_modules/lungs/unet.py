"""The lung U-Net (paper 001: Lung segmentation with U-Net), by segmentation-models-pytorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torchvision
from huggingface_hub import try_to_load_from_cache
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file
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

from experiments.errors import UserError, nearest
from experiments.load import from_dict, to_dict
from experiments.lungs_schema import LungData, LungModel, LungsExperiment
from experiments.schema import Model
from lightning_modules.checkpoint import fill_weights, read_checkpoint
from lightning_modules.networks.weights import create_network, load_weights
from lightning_modules.optimizers import build_optimizer, build_scheduler

CLASSES = ("background", "lung")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
_CHECKPOINT_KEY = "lungs_experiment"


class LungUNet(LightningModule):
    """Segments the lung fields.

    The loss is cross-entropy plus Dice (the paper names none). After every validation and test epoch the scores of the
    paper's Table 2 are logged, over all pixels of the masks that :meth:`segment` gives: ``<stage>/<class>/f1``,
    ``jaccard``, ``precision``, ``recall`` with class ``lung`` or ``background``, and ``<stage>/accuracy``; where there
    are several folders, also of each: ``<stage>/<folder>/<class>/f1`` ...

    Args:
        experiment: The experiment.
        pretrained: Load the encoder weights that it names; no when a checkpoint's follow.

    Raises:
        UserError: An encoder, weights or an image size that cannot be used.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, experiment: LungsExperiment, *, pretrained: bool = True) -> None:
        super().__init__()
        self.experiment = experiment
        if experiment.data.image_size % 32 or experiment.data.image_size <= 0:
            raise UserError(f"data.image_size: a U-Net needs a multiple of 32, not {experiment.data.image_size}")
        self.network = _build_unet(experiment.model)
        if pretrained:
            _load_encoder(self.network.encoder, experiment.model)
        self.network.to(memory_format=torch.channels_last)  # on CPUs twice as fast
        self.dice = smp.losses.DiceLoss("binary")
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.folders = list(experiment.data.folders)
        several = range(len(self.folders)) if len(self.folders) > 1 else ()
        self.scores = {str(index): _scores() for index in ("all", *several)}
        self.metrics = nn.ModuleList(self.scores.values())  # so that Lightning moves them to the device

    @property
    def image_size(self) -> int:
        """Side of the images that it was trained at."""
        return self.experiment.data.image_size

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, H, W) uint8 images to logits (N, H, W); both sides are multiples of 32."""
        x = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        return self.network(x.contiguous(memory_format=torch.channels_last)).squeeze(1)

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """Lung masks: the two largest connected areas of probability 0.5 and above.

        The probability is the mean over the image and its mirror image. Call it in eval mode.

        Args:
            images: (N, 1, H, W) uint8 on the module's device; best at the size that it was trained at.

        Returns:
            (N, H, W) bool.
        """
        mirrored = self(images.flip(-1)).flip(-1)
        lungs = (self(images).sigmoid() + mirrored.sigmoid() >= 1).cpu().numpy()
        return torch.from_numpy(np.stack([two_largest(mask) for mask in lungs])).to(images.device)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of (N, 1, S, S) uint8 images, (N, S, S) bool masks, (N,) folder indices."""
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
        """The experiment's optimizer and schedule."""
        optimizer = build_optimizer(self.parameters(), self.experiment.optimizer)
        scheduler = build_scheduler(optimizer, self.experiment.scheduler)
        return {"optimizer": optimizer, "lr_scheduler": scheduler} if scheduler else {"optimizer": optimizer}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The experiment goes with the weights, as plain containers."""
        checkpoint[_CHECKPOINT_KEY] = to_dict(self.experiment)

    def export(self, path: Path) -> None:
        """Write what :meth:`load` needs and no more: the network in half precision, no word about its data.

        Vectors (batch normalisation, biases) stay in single precision: a running variance can be out of half's range.
        """
        given = self.experiment
        model = replace(given.model, encoder_weights=None, weights=None)
        bare = LungsExperiment(name=given.name, data=LungData(image_size=self.image_size), model=model)
        weights = {name: t.half() if t.ndim > 1 else t for name, t in self.state_dict().items()}
        torch.save({_CHECKPOINT_KEY: to_dict(bare), "state_dict": weights}, path)

    @classmethod
    def load(cls, path: str | Path) -> LungUNet:
        """The network of a checkpoint, in eval mode on the CPU.

        Raises:
            UserError: No such file, cut short, or not a checkpoint of ``covidmt lungs train``.
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
        found, wanted = self.segment(images).long(), masks.long()
        self.scores["all"].update(found, wanted)
        for index in folders.unique().tolist() if len(self.folders) > 1 else ():
            self.scores[str(index)].update(found[folders == index], wanted[folders == index])

    def _log_scores(self, stage: str) -> None:
        for index, scores in self.scores.items():
            prefix = stage if index == "all" else f"{stage}/{self.folders[int(index)]}"
            values = scores.compute()
            scores.reset()
            if not values["accuracy"]:
                continue  # no image of this folder is in the split
            for name, value in values.items():
                if value.ndim:
                    named = {f"{prefix}/{label}/{name}": v for label, v in zip(CLASSES, value, strict=True)}
                else:
                    named = {f"{prefix}/{name}": value}
                self.log_dict(named, batch_size=1)


def two_largest(mask: np.ndarray) -> np.ndarray:
    """The two largest 8-connected areas of a (H, W) bool mask."""
    count, areas, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 3:
        return mask
    largest = 1 + np.argsort(stats[1:, cv2.CC_STAT_AREA])[-2:]
    return np.isin(areas, largest)


def _scores() -> MetricCollection:
    """Table 2, over pixels; ``average=None``: one value a class."""
    per_class = {
        "f1": MulticlassF1Score,
        "jaccard": MulticlassJaccardIndex,
        "precision": MulticlassPrecision,
        "recall": MulticlassRecall,
    }
    metrics = {name: metric(len(CLASSES), average=None) for name, metric in per_class.items()}
    return MetricCollection(metrics | {"accuracy": MulticlassAccuracy(len(CLASSES), average="micro")})


def _build_unet(model: LungModel) -> smp.Unet:
    try:
        return smp.Unet(
            model.encoder,
            encoder_weights=None,
            in_channels=3,
            classes=1,
            decoder_channels=model.decoder_channels,
        )
    except (KeyError, RuntimeError, ValueError) as error:
        known = smp.encoders.get_encoder_names()
        raise UserError(
            f"model.encoder: segmentation-models-pytorch has no encoder {model.encoder!r}"
            f"{nearest(model.encoder, known)} (timm's are called tu-<name>)"
        ) from error


def _load_encoder(encoder: nn.Module, model: LungModel) -> None:
    """ImageNet weights into an encoder; it is the classification network without its tail, in the same order.

    Raises:
        UserError: The weights cannot be had or are another network's.
    """
    if model.weights is None and model.encoder_weights is None:
        return
    if model.encoder_weights not in (None, "imagenet"):
        raise UserError(f"model.encoder_weights: takes imagenet or null, not {model.encoder_weights!r}")
    timm_name = model.encoder.removeprefix("tu-")
    backbone = model.encoder if timm_name == model.encoder else f"timm:{timm_name}"
    if backbone == model.encoder and model.weights is not None:
        return load_weights(encoder, model.weights)
    if backbone == model.encoder and backbone not in torchvision.models.list_models():
        return _load_own(encoder, model.encoder)
    try:
        network = create_network(replace(Model(), backbone=backbone, weights=model.weights))
    except UserError as error:  # in the words of this experiment's keys
        words = {"model.pretrained=false": "model.encoder_weights=null", "model.pretrained": "model.encoder_weights"}
        text = str(error).replace("model.backbone", "model.encoder")
        for theirs, ours in words.items():
            text = text.replace(theirs, ours)
        raise UserError(text) from error
    wanted, given = encoder.state_dict(), list(network.state_dict().values())[: len(encoder.state_dict())]
    if [t.shape for t in wanted.values()] != [t.shape for t in given]:
        raise UserError(f"model.encoder: the weights of {backbone} do not fit; set model.encoder_weights=null")
    encoder.load_state_dict(dict(zip(wanted, given, strict=True)))


def _load_own(encoder: nn.Module, name: str) -> None:
    """ImageNet weights of an encoder that segmentation-models-pytorch alone has, from the hub's cache.

    The hub is not asked: its client would try for minutes where there is no internet.
    """
    registry: dict[str, dict[str, Any]] = smp.encoders.encoders
    known = registry[name]["pretrained_settings"]
    key, otherwise = (
        "model.encoder_weights",
        "set model.weights=FILE or model.encoder_weights=null (from scratch)",
    )
    if "imagenet" not in known:
        raise UserError(f"{key}: segmentation-models-pytorch has no ImageNet weights of {name}; {otherwise}")
    repository, revision = known["imagenet"]["repo_id"], known["imagenet"]["revision"]
    path = try_to_load_from_cache(repository, "model.safetensors", revision=revision)
    if not isinstance(path, str):
        raise UserError(
            f"{key}: the ImageNet weights of {name} are not in this machine's cache; run `hf download {repository} "
            f"--revision {revision}` where there is internet and bring its cache (HF_HOME), or {otherwise}"
        )
    try:
        encoder.load_state_dict(load_file(path))
    except (KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{key}: {path} cannot be loaded ({error}); delete it and fetch it again") from error
