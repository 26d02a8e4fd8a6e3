"""Training with differential privacy: DP-SGD (Abadi et al., Deep Learning with Differential Privacy, CCS 2016).

Every image's gradient is clipped to a norm of ``max_grad_norm``, noise of ``noise_multiplier * max_grad_norm`` is added
to their sum, and a step's images are drawn by Poisson sampling, as the accounting presumes. Optimizer and accountant
are Opacus'; the gradients are torch.func's, since Opacus' own hooks do not support networks that add in place, as
ResNets do. Each image of a batch takes the memory of the trainable weights.

What the guarantee is and is not:

* (epsilon, delta) hold for the removal or addition of one *image*, or under ``unit: patient`` of one *patient* with all
  images. For a patient with up to k images, an image's guarantee gives another by group privacy
  (:func:`group_epsilon`), which is logged beside it.
* The validation images, by which the best checkpoint is chosen, and the choice of settings are not protected.
* Under ``entropy: seed`` sampling and noise are drawn by generators seeded with the experiment's seed, so that runs can
  be repeated: whoever knows the seed can take the noise away again. Publish neither the seed, which the run logs, nor a
  checkpoint, whose experiment names it; or draw them under ``entropy: os`` from the operating system: then nobody can
  repeat the run. That noise is also safe against the gaps between floating-point numbers (Opacus' secure mode, after
  Holohan & Braghin 2021); its generator, PyTorch's, is seeded by the system, but no cryptographic one.
* The loss and accuracy of each training step, which the run logs, are not noised: they are not private.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torchvision.ops import StochasticDepth

from experiments.batch import TaskBatch
from experiments.errors import UserError
from experiments.schema import Accountant, Entropy, Privacy, PrivacyUnit, TaskKind
from lightning_modules.networks.backbones import Backbone
from lightning_modules.networks.norm import BatchNorm, InstanceNorm
from lightning_modules.tasks import TaskModule

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer


_LEAST_ERROR, _RELATIVE_ERROR = 0.01, 0.005  # of an epsilon


def require_opacus() -> None:
    """Find a missing package before anything is computed.

    Raises:
        UserError: Opacus is not installed.
    """
    if find_spec("opacus") is None:
        raise UserError("privacy: needs the package opacus; install it with `pip install covidmt[privacy]`")


class PrivateTraining:
    """Noise and accounting of a private training.

    Args:
        settings: The ``privacy`` section.
        patients: Of each training image its patient, as whole numbers.
        batch_size: Images a step draws on average: each image, or patient with all images, is drawn with the
            probability ``batch_size / images``.
        steps: Steps of the whole training, for ``target_epsilon``.

    Attributes:
        noise_multiplier: Standard deviation of the noise over ``max_grad_norm``.
        rate: The probability with which a step draws an image (patient).
        most_images: Of one patient.
        accountant: Opacus' accountant that ``privacy.accountant`` names.

    Raises:
        UserError: A delta that is not below 1 / images (patients), a batch larger than the data set, an epsilon that
            cannot be met or computed.

    Example:
        >>> private = PrivateTraining(Privacy(noise_multiplier=1.0), np.arange(1000), batch_size=50, steps=20)
        >>> private.rate, private.epsilon  # nothing is spent yet
        (0.05, 0.0)
    """

    def __init__(self, settings: Privacy, patients: np.ndarray, batch_size: int, steps: int) -> None:
        from opacus.accountants import create_accountant  # an optional extra

        images, unit = len(patients), settings.unit.value
        self.units = images if settings.unit is PrivacyUnit.image else len(np.unique(patients))
        if settings.delta >= 1 / self.units:
            raise UserError(f"privacy.delta: {settings.delta} must be below 1 / {self.units} training {unit}s")
        if batch_size > images:
            raise UserError(f"privacy: a batch of {batch_size} is more than the {images} training images")
        self.settings = settings
        self.rate = batch_size / images
        self.most_images = int(np.unique(patients, return_counts=True)[1].max())
        self.accountant = create_accountant(settings.accountant.value)
        self.noise_multiplier = self._choose_noise(steps)

    def _choose_noise(self, steps: int) -> float:
        """Return the noise: as given, or as much as the target needs.

        Raises:
            UserError: The whole training's epsilon cannot be met or computed.
        """
        from opacus.accountants.utils import get_noise_multiplier

        settings, target = self.settings, cast("float", self.settings.target_epsilon)
        try:
            if settings.noise_multiplier is not None:
                spent_epsilon(settings, [(settings.noise_multiplier, self.rate, steps)])
                return settings.noise_multiplier
            return get_noise_multiplier(
                target_epsilon=target,
                target_delta=settings.delta,
                sample_rate=self.rate,
                steps=steps,
                accountant=settings.accountant.value,
                epsilon_tolerance=_accuracy(target),
                eps_error=_accuracy(target),
            )
        except (ValueError, RuntimeError, MemoryError, OverflowError) as error:
            key = "target_epsilon" if settings.noise_multiplier is None else "noise_multiplier"
            other = "; privacy.accountant=rdp takes any noise" if settings.accountant is Accountant.prv else ""
            raise UserError(
                f"privacy.{key}: {getattr(settings, key)} cannot be met or accounted for in {steps} steps: "
                f"{error}{other}"
            ) from error

    @property
    def epsilon(self) -> float:
        """What was spent until now, at ``privacy.delta``."""
        return spent_epsilon(self.settings, self.accountant.history)

    @property
    def epsilon_patient(self) -> float:
        """What was spent until now for each patient: under ``unit: image`` by :func:`group_epsilon`."""
        if self.settings.unit is PrivacyUnit.patient or self.most_images == 1 or not self.accountant.history:
            return self.epsilon
        return group_epsilon(self.accountant.history, self.most_images, self.settings.delta)

    @property
    def guarantee(self) -> dict[str, float | str]:
        """What must not change in the course of a training: with other values epsilon would be another."""
        settings = self.settings
        return {
            "noise_multiplier": self.noise_multiplier,
            "sampling rate": self.rate,
            "max_grad_norm": settings.max_grad_norm,
            "delta": settings.delta,
            "accountant": settings.accountant.value,
            "unit": settings.unit.value,
            "entropy": settings.entropy.value,
        }

    def optimizer(self, optimizer: torch.optim.Optimizer) -> DPOptimizer:
        """Return the optimizer behind clipping and noise; each of its steps is accounted for.

        Args:
            optimizer: Any optimizer; at a step its parameters need ``grad_sample`` (N, ...), the gradient of each image
                (patient: :func:`by_patient`).
        """
        from opacus.optimizers import DPOptimizer

        from_os, generator = self.settings.entropy is Entropy.os, None
        if from_os:
            (device,) = {p.device for group in optimizer.param_groups for p in group["params"]}
            generator = torch.Generator(device).manual_seed(secrets.randbits(63))
        private = DPOptimizer(
            optimizer,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.settings.max_grad_norm,
            expected_batch_size=round(self.rate * self.units, 6),  # ty: ignore[invalid-argument-type]  # it divides by it
            generator=generator,
            secure_mode=from_os,
        )
        private.attach_step_hook(self.accountant.get_optimizer_hook_fn(self.rate))
        return private


def spent_epsilon(settings: Privacy, history: Sequence[tuple[float, float, int]]) -> float:
    """Return the epsilon, at ``privacy.delta``, of steps as an accountant has them.

    Args:
        settings: The ``privacy`` section.
        history: Noise multiplier, sampling rate and number of steps.
    """
    from opacus.accountants import RDPAccountant, create_accountant

    if not history:
        return 0.0
    loose, accountant = RDPAccountant(), create_accountant(settings.accountant.value)
    loose.history, accountant.history = [*history], [*history]
    about = float(loose.get_epsilon(settings.delta))
    return float(accountant.get_epsilon(settings.delta, eps_error=_accuracy(about)))


def _accuracy(epsilon: float) -> float:
    """Return the accuracy asked of the tight accountant: its bound holds at any, and takes seconds at a fine one."""
    return max(_LEAST_ERROR, _RELATIVE_ERROR * epsilon)


def group_epsilon(history: Sequence[tuple[float, float, int]], k: int, delta: float) -> float:
    """Return the epsilon, at delta, of k images that come and go together, from the guarantee of single images.

    Group privacy (Dwork & Roth, The Algorithmic Foundations of Differential Privacy, 2014): what is (e, d)-private for
    one is ``(k e, k exp((k - 1) e) d)``-private for k. The d that makes the latter delta is searched for; the single
    image's e at such a small d is that of the Renyi accountant, an upper bound.

    Args:
        history: Noise multiplier, sampling rate and number of steps, as an accountant has them.
        k: Images, 1 or more.
        delta: In (0, 1).

    Returns:
        Infinity where no d above 1e-300 does.

    Example:
        >>> one, two = (group_epsilon([(4.0, 0.01, 1000)], k, 1e-5) for k in (1, 2))
        >>> one < 2 * one < two < 3 * one
        True
    """
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [*history]
    smaller = delta
    for _ in range(100):
        epsilon = float(accountant.get_epsilon(smaller))
        needed = math.log(delta / k) - (k - 1) * epsilon  # of the logarithm of d
        if needed < math.log(1e-300):
            return math.inf
        if math.log(smaller) <= needed + 1e-9:
            return k * epsilon
        smaller = math.exp(needed)
    return math.inf


def by_patient(gradients: Mapping[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
    """Return each patient's gradient, the mean of the images': what is clipped under ``unit: patient``.

    Args:
        gradients: By the weight's name (N, ...), a gradient an image.
        patients: (N,) int64, the images' patients.

    Returns:
        By the weight's name (P, ...), a gradient a patient.

    Example:
        >>> by_patient({"w": torch.tensor([[1.0], [5.0], [3.0]])}, torch.tensor([7, 2, 7]))
        {'w': tensor([[5.],
                [2.]])}
    """
    _, unit, counts = patients.unique(return_inverse=True, return_counts=True)
    summed = {}
    for name, gradient in gradients.items():
        total = gradient.new_zeros((len(counts), *gradient.shape[1:])).index_add_(0, unit, gradient)
        summed[name] = total / counts.to(gradient.dtype).reshape(-1, *[1] * (gradient.ndim - 1))
    return summed


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
        term = task.terms(output, TaskBatch(slice(0, 1), target[None], []))["cross_entropy"]

        # an image counts by its own class weight: the weights of a batch would tell of the others in it
        loss = term.total if task.task.kind is TaskKind.multiclass else term.mean
        return loss, output[0].detach()

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
