"""Lung segmenters by name: the one that comes with covidmt, a checkpoint, torchxrayvision's PSPNet."""

from __future__ import annotations

import inspect
from hashlib import sha256
from pathlib import Path
from typing import Protocol, Self

import requests
import torch
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.lungs.masks import HEARTS, OTHER_HEART
from experiments.paths import expand
from experiments.plugins.choices import Choice
from experiments.plugins.registry import choose, find, points
from lightning_modules.lungs.folding import fold_batch_norms
from lightning_modules.lungs.segmentation import Segmentation, tidy
from lightning_modules.lungs.unet import LungUNet

SHIPPED = "covidmt"
TORCHXRAYVISION = "torchxrayvision"
_KEY = "data.masks.segmenter"
_SHIPPED_FILE = Path(__file__).with_name("lung_unet.ckpt")


class Segmenter(Protocol):
    """What finds lungs.

    Attributes:
        image_size: Side S of the images that it takes, in pixels.
        conventions: The lungs that it can draw: ``in`` (with the part behind the heart), ``out`` (up to it), or both.
    """

    @property
    def image_size(self) -> int: ...  # noqa: D102

    @property
    def conventions(self) -> frozenset[str]: ...  # noqa: D102

    def segment(self, images: Tensor) -> Segmentation:
        """Return what is drawn on (N, 1, S, S) uint8 images on its device."""
        ...

    def to(self, device: str | torch.device, /) -> Self:
        """Move it to a device, and return it."""
        ...


def load_segmenter(name: str | Path) -> Segmenter:
    """Return a segmenter in eval mode on the CPU, ready to draw; a U-Net of covidmt's as :class:`FoldedUNet`.

    Args:
        name: ``covidmt`` (comes with the project, docs/lung_segmenter.md), ``torchxrayvision`` (an optional extra that
            downloads its weights), a class of your own by its path, or a checkpoint of ``covidmt lungs train`` or
            ``covidmt lungs export``.

    Raises:
        UserError: No such checkpoint, or torchxrayvision or its weights are missing.

    Example:
        >>> segmenter = load_segmenter("covidmt")
        >>> side = segmenter.image_size
        >>> lungs = segmenter.segment(torch.zeros(1, 1, side, side, dtype=torch.uint8)).lungs
        >>> lungs.shape == (1, side, side), lungs.dtype
        (True, torch.float32)
    """
    if not _is_named(name):
        return FoldedUNet(LungUNet.load(expand(name)))
    segmenter = choose("segmenters", str(name), _KEY)
    if isinstance(segmenter, LungUNet):
        return FoldedUNet(segmenter)
    lacks = [each for each in ("image_size", "conventions", "segment", "to") if not hasattr(segmenter, each)]
    if lacks:
        raise UserError(f"{_KEY}: {name} lacks {', '.join(lacks)}; docs/extending.md says what a segmenter has")
    return segmenter


def shipped_segmenter() -> LungUNet:
    """Return the segmenter that comes with the project."""
    return LungUNet.load(_SHIPPED_FILE)


def load_unet(name: str | Path) -> LungUNet | None:
    """Return the U-Net of a segmenter's name as it was trained, to be trained on or exported; None: it is another kind.

    Args:
        name: As in :func:`load_segmenter`.

    Raises:
        UserError: No such checkpoint.
    """
    if str(name) != SHIPPED and _is_named(name):
        return None
    return LungUNet.load(_checkpoint_file(name))


class FoldedUNet(nn.Module):
    """A trained lung U-Net that draws, and can neither be trained nor exported: its batch normalisations are folded.

    It takes less time (``benchmarks/lung_masks.py``) and draws the same but for rounding.

    Args:
        unet: In eval mode; it is changed.

    Example:
        >>> folded = FoldedUNet(shipped_segmenter())
        >>> folded.image_size, sorted(folded.conventions)
        (192, ['in', 'out'])
    """

    def __init__(self, unet: LungUNet) -> None:
        super().__init__()
        self.image_size = unet.image_size
        self.conventions = unet.conventions
        self.unet = unet
        fold_batch_norms(unet.network, torch.zeros(1, 3, 64, 64))
        unet.network.to(memory_format=torch.channels_last)

    def segment(self, images: Tensor) -> Segmentation:
        """Return what the U-Net draws; see :meth:`LungUNet.segment`.

        Args:
            images: (N, 1, S, S) uint8 on its device.
        """
        return self.unet.segment(images)


def require_convention(segmenter: Segmenter, heart: str, key: str) -> None:
    """Refuse a segmenter that does not know a convention.

    Args:
        segmenter: The segmenter.
        heart: ``in`` or ``out``, see :class:`experiments.lungs.masks.Masks`.
        key: The setting that names the segmenter, for the message.

    Raises:
        UserError: It does not draw these lungs.
    """
    if heart not in segmenter.conventions:
        raise UserError(
            f"{key}: this segmenter does not draw {HEARTS[heart]}; use {SHIPPED}, which draws both, or "
            f"data.masks.heart={OTHER_HEART[heart]} (`covidmt lungs masks`: --heart {OTHER_HEART[heart]})"
        )


def native_of(segmenter: Segmenter) -> str:
    """Return the convention of a segmenter's lungs: ``out`` where they stop at the heart, else ``in``."""
    return "in" if "in" in segmenter.conventions else "out"


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
        'torchxrayvision-pspnet_chestxray_best_model_4-hearts'
    """
    if str(name) == TORCHXRAYVISION:
        return f"{TORCHXRAYVISION}-pspnet_chestxray_best_model_4-hearts"
    if str(name) != SHIPPED and _is_named(name):
        return _own_id(str(name))
    try:
        digest = sha256(_checkpoint_file(name).read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise UserError(
            f"{name}: no such checkpoint ({error.strerror}); {SHIPPED} is the segmenter that comes with the project"
        ) from error
    return f"{SHIPPED}-{digest}" if str(name) == SHIPPED else digest


def _is_named(name: str | Path) -> bool:
    """Return whether a segmenter is a short name or a class, and no checkpoint."""
    choice = Choice.parse(str(name), _KEY)
    return choice.name in points("segmenters") or (choice.is_class and not expand(name).is_file())


def _own_id(name: str) -> str:
    """The class's name, and 12 hex digits of its arguments and of the file that defines it."""
    choice = Choice.parse(name, _KEY)
    found = find("segmenters", choice.name, _KEY)
    content = Path(inspect.getfile(found)).read_bytes() + str(choice).encode()
    return f"{found.__name__}-{sha256(content).hexdigest()[:12]}"


def _checkpoint_file(name: str | Path) -> Path:
    return _SHIPPED_FILE if str(name) == SHIPPED else expand(name)


class ChestXDetPSPNet(nn.Module):
    """torchxrayvision's PSPNet, trained on ChestX-Det (Lian et al., IEEE TMI 2021): its left and right lung.

    Its lungs stop at the heart, so it goes with ``data.masks.heart=out``.

    Raises:
        UserError: The package is not installed, or its weights are neither here nor can be downloaded.
    """

    image_size = 512
    conventions = frozenset({"out"})

    def __init__(self) -> None:
        super().__init__()
        try:
            from torchxrayvision.baseline_models.chestx_det import PSPNet
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
        self.heart = PSPNet.targets.index("Heart")

    @torch.no_grad()
    def segment(self, images: Tensor) -> Segmentation:
        """Return the two largest areas of either lung, and the heart.

        Args:
            images: (N, 1, 512, 512) uint8.
        """
        areas = self.network(images.float() / 255 * 2048 - 1024).sigmoid()  # torchxrayvision's grey levels
        return Segmentation(tidy(areas[:, self.lungs].amax(dim=1), count=2), tidy(areas[:, self.heart], count=1))
