"""Lung segmenters by name: the one that comes with covidmt, a checkpoint, torchxrayvision's PSPNet."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import requests
import torch
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.paths import expand
from lightning_modules.lungs.unet import LungUNet, two_largest_areas

SHIPPED = "covidmt"
TORCHXRAYVISION = "torchxrayvision"
_SHIPPED_FILE = Path(__file__).with_name("lung_unet.ckpt")


class Segmenter(Protocol):
    """What finds lungs.

    Attributes:
        image_size: Side S of the images that it takes, in pixels.
    """

    @property
    def image_size(self) -> int: ...  # noqa: D102

    def segment(self, images: Tensor) -> Tensor:
        """Return (N, S, S) bool, True inside the lung fields, of (N, 1, S, S) uint8 images on its device."""
        ...

    def to(self, device: str | torch.device, /) -> Self:
        """Move it to a device, and return it."""
        ...


def load_segmenter(name: str | Path) -> Segmenter:
    """Return a segmenter in eval mode on the CPU.

    Args:
        name: ``covidmt`` (comes with the project, docs/lung_segmenter.md), ``torchxrayvision`` (an optional extra that
            downloads its weights), or a checkpoint of ``covidmt lungs train`` or ``covidmt lungs export``.

    Raises:
        UserError: No such checkpoint, or torchxrayvision or its weights are missing.

    Example:
        >>> segmenter = load_segmenter("covidmt")
        >>> side = segmenter.image_size
        >>> masks = segmenter.segment(torch.zeros(1, 1, side, side, dtype=torch.uint8))
        >>> masks.shape == (1, side, side), masks.dtype
        (True, torch.bool)
    """
    if str(name) == TORCHXRAYVISION:
        return ChestXDetPSPNet()
    return LungUNet.load(_checkpoint_file(name))


def segmenter_id(name: str | Path) -> str:
    """Return what a segmenter's masks are filed under.

    It is the segmenter's name or kind, and the first 12 hex digits of its weights' SHA-256; of torchxrayvision it is
    the name of the weights, which are not needed here.

    Args:
        name: As in :func:`load_segmenter`.

    Raises:
        UserError: No such checkpoint.

    Example:
        >>> segmenter_id("torchxrayvision")
        'torchxrayvision-pspnet_chestxray_best_model_4'
    """
    if str(name) == TORCHXRAYVISION:
        return f"{TORCHXRAYVISION}-pspnet_chestxray_best_model_4"
    try:
        digest = sha256(_checkpoint_file(name).read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise UserError(
            f"{name}: no such checkpoint ({error.strerror}); {SHIPPED} is the segmenter that comes with the project"
        ) from error
    return f"{SHIPPED}-{digest}" if str(name) == SHIPPED else digest


def _checkpoint_file(name: str | Path) -> Path:
    return _SHIPPED_FILE if str(name) == SHIPPED else expand(name)


class ChestXDetPSPNet(nn.Module):
    """torchxrayvision's PSPNet, trained on ChestX-Det (Lian et al., IEEE TMI 2021): its left and right lung.

    Its lungs end at the heart; the part behind it, which covidmt's definition has, is left out.

    Raises:
        UserError: The package is not installed, or its weights are neither here nor can be downloaded.
    """

    image_size = 512

    def __init__(self) -> None:
        super().__init__()
        try:
            from torchxrayvision.baseline_models.chestx_det import PSPNet  # ty: ignore[import-not-found]
        except ImportError as error:
            raise UserError(
                f"{TORCHXRAYVISION}: this segmenter is an optional extra; run `pip install covidmt[{TORCHXRAYVISION}]` "
                f"or use {SHIPPED}, which comes with the project ({error})"
            ) from error

        try:
            self.network = PSPNet().eval()
        except requests.RequestException as error:
            raise UserError(
                f"{TORCHXRAYVISION}: the weights of its PSPNet are not in ~/.torchxrayvision/models_data and cannot be "
                f"downloaded; bring pspnet_chestxray_best_model_4.pth from its release v1 there, or use {SHIPPED} "
                f"({type(error).__name__})"
            ) from error
        except Exception as error:  # whatever reading a broken file gives
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{TORCHXRAYVISION}: the weights in ~/.torchxrayvision/models_data cannot be loaded ({reason}); delete "
                "pspnet_chestxray_best_model_4.pth there and fetch it again"
            ) from error

        self.lungs = [PSPNet.targets.index(side) for side in ("Left Lung", "Right Lung")]

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """Return the two largest areas of either lung's probability >= 0.5.

        Args:
            images: (N, 1, 512, 512) uint8.

        Returns:
            (N, 512, 512) bool.
        """
        logits = self.network(images.float() / 255 * 2048 - 1024)  # torchxrayvision's grey levels
        lungs = (logits[:, self.lungs] >= 0).any(dim=1).cpu().numpy()
        return torch.from_numpy(np.stack([two_largest_areas(mask) for mask in lungs])).to(images.device)
