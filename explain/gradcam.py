"""Grad-CAM from the last feature map and the head alone (Selvaraju et al., ICCV 2017).

With the feature map at hand, the class score's gradient needs the head's backward only: no hook, no second forward,
no backward through the base network, and no parameter's ``.grad`` is touched.

Of the gradient, Grad-CAM reads its mean over each channel's positions: the derivative by a constant added to the
whole channel. Where the head begins with a convolution, as the paper's does, this derivative needs the sums of the
output's gradient under each tap of the kernel rather than the transposed convolution (for ResNet-50 a tenth of the
inference): the same numbers, next to nothing to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Keeps half-precision gradients off the subnormal range; a power of two, so float32 results are the same bit for bit.
_GRADIENT_SCALE = 1024.0
_OUTPUTS = 32  # of a convolution at a time: their reordered weights stay in the processor's cache


class GradCam(NamedTuple):
    """What one pass of the head gives.

    Attributes:
        map: (N, h, w) float32, after ReLU, at the feature map's size; nothing subtracted, not scaled.
        logits: (N, number of labels) float32, detached: the predictions that the maps explain.
    """

    map: Tensor
    logits: Tensor


def gradcam(feature: Tensor, head: Callable[[Tensor], Tensor], score: Callable[[Tensor], Tensor]) -> GradCam:
    """Explains each image's score by its feature map.

    Works inside ``torch.no_grad``, ``torch.inference_mode`` and ``torch.autocast``; leaves gradients, train/eval mode
    and random state alone. The head must be in eval mode (batch statistics would mix the images).

    Args:
        feature: (N, C, h, w) the map that the head reads.
        head: Feature map -> (N, number of labels) logits.
        score: Logits -> (N,) the scores to explain, each a function of its own image (:meth:`.Decision.score`).
    """
    with torch.inference_mode(False), torch.enable_grad():
        # A precision of its own, whatever the default: the sum over positions is too long for half precision.
        exact = torch.promote_types(feature.dtype, torch.float32)
        shift = torch.zeros(*feature.shape[:2], 1, 1, dtype=exact, device=feature.device, requires_grad=True)
        shifted = (feature.detach().to(exact) + shift).to(feature.dtype)  # a new tensor, no inference tensor
        with uncached_autocast(feature.device), _ShiftedConvolutions(shifted, shift):
            logits = head(shifted)
            scores = score(logits)
        with torch.autocast(feature.device.type, enabled=False):
            (gradient,) = torch.autograd.grad(scores.sum() * _GRADIENT_SCALE, shift)
        weights = gradient.float() / (_GRADIENT_SCALE * feature.shape[2] * feature.shape[3])
        raw = (weights * shifted.detach().float()).sum(dim=1).relu_()
    return GradCam(raw, logits.detach().float())


class _ShiftedConvolutions(TorchFunctionMode):
    """Convolutions of the shifted map called inside take the short way back to the shift; all else is as outside."""

    def __init__(self, shifted: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.shifted = shifted
        self.shift = shift

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._conv2d if func is F.conv2d else func)(*args, **(kwargs or {}))

    def _conv2d(self, input: Any, weight: Any, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Any:
        if input is not self.shifted or groups != 1 or isinstance(padding, str):
            return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
        return _ShiftedConv2d.apply(self.shift, input.detach(), weight, bias, stride, padding, dilation)


class _ShiftedConv2d(torch.autograd.Function):
    """Convolution, differentiable by a constant added to each input channel: (N, C, 1, 1)."""

    @staticmethod
    def forward(
        ctx: Any, shift: Tensor, image: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any
    ):
        ctx.save_for_backward(weight)
        ctx.exact = shift.dtype
        inside = torch.ones(1, 1, *image.shape[2:], dtype=shift.dtype, device=image.device)
        # (taps, positions): 1 where the tap reads the map, 0 where it reads the padding, which no shift reaches.
        ctx.taps = F.unfold(inside, weight.shape[2:], dilation, padding, stride)[0]
        return F.conv2d(image, weight, bias, stride, padding, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # ty: ignore[incompatible-method-override]
        (weight,) = ctx.saved_tensors
        sums = gradient.flatten(2).to(ctx.exact) @ ctx.taps.T  # (N, outputs, taps)
        shift = sums.new_zeros(len(sums), weight.shape[1])
        for part, taps in zip(sums.split(_OUTPUTS, dim=1), weight.split(_OUTPUTS), strict=True):
            shift += part.flatten(1) @ taps.permute(0, 2, 3, 1).reshape(-1, weight.shape[1]).to(ctx.exact)
        return shift[:, :, None, None], *[None] * 6


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as outside, but without its cache, where ``no_grad`` code may have left weight casts with no graph."""
    kind = device.type
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)
