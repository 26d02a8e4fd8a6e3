"""Grad-CAM from the last feature map and the head alone (Selvaraju et al., ICCV 2017).

With the feature map at hand, the class score's gradient needs the head's backward only: no hook, no second forward,
no backward through the base network, and no parameter's ``.grad`` is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# Keeps half-precision gradients off the subnormal range; a power of two, so float32 results are the same bit for bit.
_GRADIENT_SCALE = 1024.0


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
        leaf = feature.detach().clone().requires_grad_()  # the clone is no inference tensor
        with uncached_autocast(feature.device):
            logits = head(leaf)
            scores = score(logits)
        (gradient,) = torch.autograd.grad(scores.sum() * _GRADIENT_SCALE, leaf)
        weights = gradient.float().mean(dim=(2, 3), keepdim=True) / _GRADIENT_SCALE
        raw = (weights * leaf.detach().float()).sum(dim=1).relu_()
    return GradCam(raw, logits.detach().float())


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as outside, but without its cache, where ``no_grad`` code may have left weight casts with no graph."""
    kind = device.type
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)
