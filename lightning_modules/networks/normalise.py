"""Grey images as a network takes them: normalised by the mean and deviation that its weights were trained with."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from experiments.models.schema import Model, Normalisation
from lightning_modules.networks.without import without_wandb


class Normalise(nn.Module):
    """Grey uint8 images to normalised three-channel ones, on the device.

    Grey is repeated to three channels, scaled to 0-1 and normalised. Nothing of it is in a checkpoint's weights; its
    numbers stand in the checkpoint's experiment (``model.normalisation``).

    Args:
        settings: Mean and deviation of each channel; None: ImageNet's.

    Example:
        >>> black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> Normalise()(black_and_white).flatten(1)
        tensor([[-2.1179, -2.0357, -1.8044],
                [ 2.2489,  2.4286,  2.6400]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Normalisation | None = None) -> None:
        super().__init__()
        self.settings = settings or Normalisation()
        self.register_buffer("mean", torch.tensor(self.settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.settings.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, H, W), in the module's floating type, of (N, 1, H, W) uint8 images."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std


def network_normalisation(model: Model) -> Normalisation:
    """Return what a network's input is normalised by.

    ``model.normalisation`` wins. Without it: where the network starts from weights, what its published ones were
    trained with (timm's ``pretrained_cfg``, the transforms of torchvision's weights); else ImageNet's: any would do.

    Args:
        model: The experiment's ``model`` section.

    Example:
        >>> network_normalisation(Model(backbone="timm:legacy_xception"))
        Normalisation(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
        >>> network_normalisation(Model(backbone="timm:legacy_xception", pretrained=False)).mean
        [0.485, 0.456, 0.406]
    """
    if model.normalisation is not None:
        return model.normalisation
    if not model.pretrained and model.weights is None:
        return Normalisation()
    if model.backbone.startswith("timm:"):
        return _timm_normalisation(model.backbone.removeprefix("timm:"))
    return _torchvision_normalisation(model.backbone)


def _timm_normalisation(name: str) -> Normalisation:
    with without_wandb():
        import timm  # knows a thousand networks, which takes its time

    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return Normalisation() if config is None else Normalisation([*config.mean], [*config.std])


def _torchvision_normalisation(name: str) -> Normalisation:
    if name not in torchvision.models.list_models(module=torchvision.models):
        return Normalisation()
    transforms = next(iter(torchvision.models.get_model_weights(name))).transforms()
    return Normalisation([*transforms.mean], [*transforms.std])
