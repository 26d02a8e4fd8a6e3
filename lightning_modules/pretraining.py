"""SimCLR: a base network learns from films without labels that two views of a film belong together.

Chen, Kornblith, Norouzi, Hinton, A Simple Framework for Contrastive Learning of Visual Representations (ICML 2020).
Loss and projection are lightly's.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import override

from experiments.errors import UserError
from experiments.files import replace_file
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Model
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.normalise import Normalise, network_normalisation
from lightning_modules.optimizers import build_optimizer, build_scheduler


def require_lightly() -> None:
    """Find a missing package before anything is computed.

    Raises:
        UserError: lightly is not installed.
    """
    if find_spec("lightly") is None:
        raise UserError("pretrain: needs the package lightly; install it with `pip install covidmt[pretraining]`")


class ContrastiveModule(LightningModule):
    r"""The base network with SimCLR's projection, trained by the NT-Xent loss.

    .. math:: \ell_{i,j} = -\log \frac{\exp(z_i \cdot z_j / \tau)}{\sum_{k \neq i} \exp(z_i \cdot z_k / \tau)}

    Where :math:`z` are projections of length 1, (i, j) the two views of a film, and k all views of the step, over all
    processes. Logged: ``train/loss``, ``val/loss``, and ``val/retrieval``, the share of the validation views whose
    most similar other view of the batch is their partner.

    Args:
        experiment: What to run.

    Raises:
        UserError: lightly is not installed; a base network or weights that cannot be used.

    Example:
        >>> from experiments.pretraining.schema import PretrainExperiment, PretrainModel
        >>> model = PretrainModel("timm:test_resnet", projection=8)
        >>> module = ContrastiveModule(PretrainExperiment("mine", model=model))
        >>> tuple(module(torch.zeros(2, 1, 64, 64, dtype=torch.uint8)).shape)
        (2, 8)
    """

    def __init__(self, experiment: PretrainExperiment) -> None:
        super().__init__()
        require_lightly()
        from lightly.loss import NTXentLoss  # an optional extra
        from lightly.models.modules import SimCLRProjectionHead

        settings = experiment.model
        self.experiment = experiment
        model = Model(backbone=settings.backbone, pretrained=settings.pretrained, weights=settings.weights)
        self.normalise = Normalise(
            network_normalisation(replace(model, pretrained=True))
        )  # as a training from its file
        self.backbone = build_backbone(model, experiment.data.image_size)
        width = self.backbone.channels[-1]
        self.projection = SimCLRProjectionHead(width, width, settings.projection)
        self.contrast = NTXentLoss(
            temperature=experiment.temperature, gather_distributed=torch.distributed.is_available()
        )
        if settings.channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, projection) projections of (N, 1, S, S) uint8 images."""
        x = self.normalise(images)
        if self.experiment.model.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.projection(self.backbone(x)[-1].mean(dim=(2, 3)))

    def training_step(self, views: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of (N, 2, 1, S, S) uint8 views."""
        first, second = self._project(views)
        loss = self.contrast(first, second)
        self.log("train/loss", loss, batch_size=len(views))
        return loss

    def validation_step(self, views: Tensor, batch_idx: int) -> None:
        """Log the loss and the retrieval of a batch."""
        first, second = self._project(views)
        scores = {"val/loss": self.contrast(first, second), "val/retrieval": retrieval(first, second)}
        self.log_dict(scores, batch_size=len(views), sync_dist=True)

    def _project(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Project both views in one forward, so that they share the batch statistics."""
        first, second = self(views.transpose(0, 1).flatten(0, 1)).chunk(2)
        return first, second

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = build_optimizer(parameters, self.experiment.optimizer)
        scheduler = build_scheduler(optimizer, self.experiment.scheduler)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}


def retrieval(first: Tensor, second: Tensor) -> Tensor:
    """Return the share of views whose most similar other view is their partner, a scalar in [0, 1].

    Args:
        first: (N, D) projections of one view of each film.
        second: (N, D) of the other.

    Example:
        >>> first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> retrieval(first, first + 0.1), retrieval(first, first.flip(0))
        (tensor(1.), tensor(0.))
    """
    views, n = nn.functional.normalize(torch.cat([first, second]), dim=1), len(first)
    similar = (views @ views.T).fill_diagonal_(-torch.inf)
    partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)]).to(similar.device)
    return (similar.argmax(dim=1) == partner).float().mean()


def write_backbone(module: ContrastiveModule, path: Path) -> None:
    """Write the base network's weights as a file for ``model.weights``.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        with replace_file(path) as new:
            torch.save({name: tensor.cpu() for name, tensor in module.backbone.network.state_dict().items()}, new)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written: {error}") from error
