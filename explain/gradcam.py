"""Grad-CAM from the last feature map and the head alone (Selvaraju et al., ICCV 2017).

With the feature map at hand, the class score's gradient needs the head's backward only: no hook, no second forward,
no backward through the base network, and no parameter's ``.grad`` is touched. Maps and predictions together take 1.0 to
1.1 times as long as plain inference (``benchmarks/gradcam.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# Keeps half-precision gradients off the subnormal range; a power of two, so float32 results are the same bit for bit.
_GRADIENT_SCALE = 1024.0


class GradCam(NamedTuple):
    """Raw maps of a batch, and the predictions that they explain.

    Attributes:
        map: (N, h, w) float32 >= 0, after ReLU, at the feature map's size; nothing subtracted, not scaled.
        logits: (N, number of labels) float32, detached.
    """

    map: Tensor
    logits: Tensor


def gradcam(feature: Tensor, head: Callable[[Tensor], Tensor], score: Callable[[Tensor], Tensor]) -> GradCam:
    r"""Explain each image's score by its feature map.

    .. math:: \text{map} = \text{ReLU}\Big(\sum_c \alpha_c A_c\Big), \quad
        \alpha_c = \frac{1}{hw} \sum_{i, j} \frac{\partial \, \text{score}}{\partial A_{cij}}

    Selvaraju et al., Eqs. 1 and 2, where :math:`A_c` is the feature map's channel c. It works inside ``torch.no_grad``,
    ``torch.inference_mode`` and ``torch.autocast``; gradients, train/eval mode and random state stay as they are. The
    head must be in eval mode (batch statistics would mix the images).

    Args:
        feature: (N, C, h, w) the map that the head reads, of any floating type.
        head: Feature map -> (N, number of labels) logits.
        score: Logits -> (N,) the scores to explain, each a function of its own image (:meth:`.Decision.score`).

    Example:
        The score is 2 mean(A_0) - 3 mean(A_1), so that the weights are 2/2 and -3/2.

        >>> feature = torch.tensor([[[[1.0, 2.0]], [[1.0, 0.0]]]])
        >>> gradcam(feature, lambda maps: maps.mean(dim=(2, 3)), lambda logits: 2 * logits[:, 0] - 3 * logits[:, 1])
        GradCam(map=tensor([[[0., 2.]]]), logits=tensor([[1.5000, 0.5000]]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        # A precision of its own, whatever the default: the sum over positions is too long for half precision.
        leaf = feature.detach().to(torch.promote_types(feature.dtype, torch.float32), copy=True).requires_grad_()
        with uncached_autocast(feature.device):
            logits = head(leaf.to(feature.dtype, copy=True))  # a head may begin in place, which a leaf forbids
            scores = score(logits)
        with torch.autocast(feature.device.type, enabled=False):
            (gradient,) = torch.autograd.grad(scores.sum() * _GRADIENT_SCALE, leaf)

        weights = gradient.mean(dim=(2, 3), keepdim=True).float() / _GRADIENT_SCALE
        raw = (weights * leaf.detach().float()).sum(dim=1).relu_()
    return GradCam(raw, logits.detach().float())


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as outside, but without its cache, where ``no_grad`` code may have left weight casts with no graph."""
    kind = device.type
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)
