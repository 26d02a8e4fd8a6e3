"""Training with differential privacy: DP-SGD (Abadi et al., Deep Learning with Differential Privacy, CCS 2016).

Every image's gradient is clipped to a norm of ``max_grad_norm``, noise of ``noise_multiplier * max_grad_norm`` is added
to their sum, and a step's images are drawn by Poisson sampling, as the accounting presumes. Optimizer and accountant
are Opacus'; the gradients are torch.func's, since Opacus' own hooks do not support networks that add in place, as
ResNets do. Each image of a batch takes the memory of the trainable weights.

What the guarantee is and is not:

* (epsilon, delta) hold for the removal or addition of one *image*; a patient with k images has k epsilon and more.
* The validation images, by which the best checkpoint is chosen, and the choice of settings are not protected.
* Sampling and noise are drawn by generators seeded with the experiment's seed, so that runs can be repeated: whoever
  knows the seed can take the noise away again. If the guarantee is to hold against readers, publish neither the seed,
  which the run logs, nor a checkpoint, whose experiment names it.
* The loss and accuracy of each training step, which the run logs, are not noised: they are not private.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torchvision.ops import StochasticDepth

from experiments.batch import TaskBatch
from experiments.errors import UserError
from experiments.schema import Privacy
from lightning_modules.networks.backbones import Backbone
from lightning_modules.networks.norm import BatchNorm, InstanceNorm
from lightning_modules.tasks import TaskModule

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer


def require_opacus() -> None:
    """Find a missing package before anything is computed.

    Raises:
        UserError: Opacus is not installed.
    """
    if find_spec("opacus") is None:
        raise UserError("privacy: needs the package opacus; install it with `pip install covidmt[privacy]`")


class PrivateTraining:
    """Noise and accounting of a private training.

    The accountant is that of Renyi differential privacy (Mironov 2017): an upper bound, a little above the tight value.

    Args:
        settings: The ``privacy`` section.
        images: N, the training images.
        batch_size: Images a step draws on average; each is drawn with the probability ``batch_size / N``.
        steps: Steps of the whole training, for ``target_epsilon``.

    Attributes:
        noise_multiplier: Standard deviation of the noise over ``max_grad_norm``.
        rate: The probability with which a step draws an image.
        accountant: Opacus' RDP accountant.

    Raises:
        UserError: A delta that is not below 1 / N, a batch larger than the data set, an epsilon that cannot be met.

    Example:
        >>> private = PrivateTraining(Privacy(noise_multiplier=1.0), images=1000, batch_size=50, steps=20)
        >>> private.rate, private.epsilon  # nothing is spent yet
        (0.05, 0.0)
    """

    def __init__(self, settings: Privacy, images: int, batch_size: int, steps: int) -> None:
        from opacus.accountants import RDPAccountant  # an optional extra
        from opacus.accountants.utils import get_noise_multiplier

        if settings.delta >= 1 / images:
            raise UserError(f"privacy.delta: {settings.delta} must be below 1 / {images} training images")
        if batch_size > images:
            raise UserError(f"privacy: a batch of {batch_size} is more than the {images} training images")
        self.settings = settings
        self.batch_size = batch_size
        self.rate = batch_size / images
        self.accountant = RDPAccountant()

        # the noise: as given, or as much as the target needs
        if settings.noise_multiplier is not None:
            self.noise_multiplier = settings.noise_multiplier
            return
        try:
            self.noise_multiplier = get_noise_multiplier(
                target_epsilon=cast("float", settings.target_epsilon),
                target_delta=settings.delta,
                sample_rate=self.rate,
                steps=steps,
                accountant="rdp",
            )
        except ValueError as error:
            raise UserError(
                f"privacy.target_epsilon: {settings.target_epsilon} cannot be met in {steps} steps: {error}"
            ) from error

    @property
    def epsilon(self) -> float:
        """What was spent until now, at ``privacy.delta``."""
        return float(self.accountant.get_epsilon(self.settings.delta)) if self.accountant.history else 0.0

    @property
    def guarantee(self) -> dict[str, float]:
        """What must not change in the course of a training: with other values epsilon would be another."""
        return {
            "noise_multiplier": self.noise_multiplier,
            "sampling rate": self.rate,
            "max_grad_norm": self.settings.max_grad_norm,
            "delta": self.settings.delta,
        }

    def optimizer(self, optimizer: torch.optim.Optimizer) -> DPOptimizer:
        """Return the optimizer behind clipping and noise; each of its steps is accounted for.

        Args:
            optimizer: Any optimizer; its parameters need ``grad_sample`` (N, ...), each image's gradient, at a step.
        """
        from opacus.optimizers import DPOptimizer

        private = DPOptimizer(
            optimizer,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.settings.max_grad_norm,
            expected_batch_size=self.batch_size,
        )
        private.attach_step_hook(self.accountant.get_optimizer_hook_fn(self.rate))
        return private


class PerImage(nn.Module):
    """Compute the loss of one image as a function of the weights, and its gradient for each image of a batch.

    Its weights have the names that they have in :class:`.MultiTaskModule`.

    Args:
        backbone: The base network, without batch normalisation.
        task: The one task.
    """

    def __init__(self, backbone: Backbone, task: TaskModule) -> None:
        super().__init__()
        self.backbone = backbone
        self.tasks = nn.ModuleDict({task.task.name: task})

    def forward(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar loss and the (L,) logits of a (3, S, S) normalised image and its (L,) target."""
        (task,) = cast("Iterable[TaskModule]", self.tasks.values())
        output = task(self.backbone(image[None]))
        return task.loss(output, TaskBatch(slice(0, 1), target[None], [])), output[0].detach()

    def gradients(self, images: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return each image's gradients, loss and logits.

        Args:
            images: (N, 3, S, S) float, normalised; N may be 0.
            targets: (N, L) float, 1 / 0 / NaN.

        Returns:
            By the weight's name (N, ...) gradients; (N,) losses; (N, L) logits.
        """
        weights = {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}
        if not len(images):
            empty = {name: p.new_zeros((0, *p.shape)) for name, p in weights.items()}
            return empty, images.new_zeros(0), targets.new_zeros(targets.shape)

        def loss(weights: dict[str, Tensor], image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(self, weights, (image, target))

        each = vmap(grad_and_value(loss, has_aux=True), in_dims=(None, 0, 0), randomness="different")
        gradients, (losses, logits) = each(weights, images, targets)
        return gradients, losses.detach(), logits


class ImageDropout(nn.Module):
    """Drop whole images as torchvision's StochasticDepth does, in a way that `torch.func.vmap` draws for each image.

    Args:
        p: Probability with which an image is dropped in training.

    Example:
        >>> drop = ImageDropout(0.5)
        >>> set(drop(torch.ones(20, 1, 1, 1)).flatten().tolist()) <= {0.0, 2.0}
        True
        >>> drop.eval()(torch.ones(1, 1, 1, 1)).item()
        1.0
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) with each image zeroed with probability p in training, else divided by 1 - p."""
        if not self.training or self.p == 0:
            return x
        survives = torch.rand_like(x[:, :1, :1, :1]) >= self.p
        return x * survives / (1 - self.p)


def prepare_network(network: nn.Module) -> None:
    """Put :class:`ImageDropout` in the place of every StochasticDepth.

    Args:
        network: The network, changed in place.

    Raises:
        UserError: A layer keeps statistics of the images.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, StochasticDepth):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, ImageDropout(module.p))
        if isinstance(module, BatchNorm | InstanceNorm) and module.track_running_stats:
            raise UserError(
                f"privacy: {name} ({type(module).__name__}) keeps statistics of the images, which are not private; "
                "choose another model.backbone"
            )
