"""Guided backpropagation, which is defined for rectifiers (Springenberg et al., ICLR workshop 2015).

A rectifier is zero over half of its input, and the guided rule lets a gradient pass it only where both its input and
the gradient are positive. A smooth activation (SiLU of EfficientNet, GELU, Hardswish) or a leaky one has no such half:
its derivative would be kept, and what comes out is a plain gradient, whatever it is called. The literature has no rule
for these, and neither Captum nor pytorch-grad-cam has one, so a network with one is refused. A sigmoid as a gate, as in
squeeze-and-excitation beside ReLUs, keeps its derivative.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from experiments.errors import UserError

_RELU = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_CAPPED = (F.relu6, F.hardtanh, F.hardtanh_)  # ReLU6, as a function and as torch.nn.ReLU6 calls it
_SMOOTH = {  # activations that are no rectifiers, as torch's and timm's functions and modules are called
    *("silu", "swish", "swishme", "quickgelu", "gelu", "gelutanh", "mish", "mishme", "hardmish", "hardmishme"),
    *("hardswish", "hardswishme", "elu", "celu", "selu", "leaky_relu", "leakyrelu", "prelu", "rrelu", "softplus"),
    *("tanh", "softsign", "logsigmoid"),
}


class GuidedBackprop(TorchFunctionMode):
    """ReLUs called inside, as modules or as functions, let only positive gradients of positive inputs pass.

    Raises:
        UserError: An activation that is no rectifier is called inside.

    Example:
        A negative gradient does not pass, nor does one of a negative input.

        >>> x = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
        >>> with GuidedBackprop():
        ...     y = x.relu()
        >>> torch.autograd.grad((y * torch.tensor([5.0, -5.0, 5.0])).sum(), x)
        (tensor([5., 0., 0.]),)
    """

    def __init__(self) -> None:
        super().__init__()
        self.relus = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, or what takes the place of a ReLU."""
        kwargs = kwargs or {}
        if func in _RELU:
            return self._guide(args[0] if args else kwargs["input"])
        if func in _CAPPED:
            lowest, highest = _limits(func, args, kwargs)
            if lowest == 0:
                return self._guide(args[0] if args else kwargs["input"]).clamp(max=highest)
            raise _refusal("Hardtanh")
        name = getattr(func, "__name__", "").removesuffix("_")
        if name in _SMOOTH:
            raise _refusal(name)
        return func(*args, **kwargs)

    def require_relu(self, module: nn.Module) -> None:
        """Refuse a network in which no ReLU was met.

        Raises:
            UserError: None was.
        """
        if not self.relus:
            raise _refusal(f"what {type(module).__name__} has in place of a ReLU")

    def _guide(self, x: Tensor) -> Tensor:
        from pytorch_grad_cam.guided_backprop import GuidedBackpropReLU

        self.relus += 1
        return GuidedBackpropReLU.apply(x)


def refuse_smooth_activations(module: nn.Module) -> None:
    """Refuse a network with an activation module that is no rectifier, before the first image.

    Raises:
        UserError: Naming the first one.

    Example:
        >>> refuse_smooth_activations(nn.Sequential(nn.Conv2d(1, 1, 1), nn.SiLU()))
        Traceback (most recent call last):
        experiments.errors.UserError: robustness.engine: guided_gradcam needs a network with ReLU: ...
    """
    for part in module.modules():
        if type(part).__name__.lower() in _SMOOTH:
            raise _refusal(type(part).__name__)


def _refusal(activation: str) -> UserError:
    return UserError(
        "robustness.engine: guided_gradcam needs a network with ReLU: guided backpropagation is defined by the half "
        f"over which a ReLU is zero; through {activation} it is plain backpropagation. Use robustness.engine=gradcam"
    )


def _limits(func: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[float, float]:
    """The lowest and the highest value of a capped activation's call."""
    if func is F.relu6:
        return 0.0, 6.0
    positions = {"min_val": (1, -1.0), "max_val": (2, 1.0)}
    low, high = (
        args[place] if len(args) > place else kwargs.get(name, default) for name, (place, default) in positions.items()
    )
    return float(low), float(high)
