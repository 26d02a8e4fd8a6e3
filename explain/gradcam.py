"""Grad-CAM from the last feature map and the head alone (Selvaraju et al., ICCV 2017).

With the feature map at hand, the class score's gradient needs the head's backward only: no hook, no second forward,
no backward through the base network, and no parameter's ``.grad`` is touched. Of a head that begins with a convolution
(the paper's does) not even that layer's backward, the head's largest part: Grad-CAM needs the gradient's mean over the
positions alone, and that is a product with the kernel (:func:`input_gradient_sum`). Maps and predictions together take
1.0 to 1.1 times as long as plain inference (``benchmarks/gradcam.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
    return gradcams(feature, head, [score])[0]


def gradcams(
    feature: Tensor, head: Callable[[Tensor], Tensor], scores: Sequence[Callable[[Tensor], Tensor]]
) -> list[GradCam]:
    """Explain several scores of each image by one pass of the head, and a backward pass of it for each score.

    Args:
        feature: As of :func:`gradcam`.
        head: As of :func:`gradcam`.
        scores: As ``score`` of :func:`gradcam`, one or more.

    Returns:
        For each score its maps, and the same logits.
    """
    first, rest = _split_convolution(head)
    with torch.no_grad():
        inner = feature if first is None else first(feature)

    with torch.inference_mode(False), torch.enable_grad():
        # A precision of its own, whatever the default: the sum over positions is too long for half precision.
        leaf = inner.detach().to(torch.promote_types(inner.dtype, torch.float32), copy=True).requires_grad_()
        with uncached_autocast(feature.device):
            logits = rest(leaf.to(inner.dtype, copy=True))  # a head may begin in place, which a leaf forbids
            explained = [score(logits).sum() * _GRADIENT_SCALE for score in scores]

        with torch.autocast(feature.device.type, enabled=False):
            gradients = [torch.autograd.grad(value, leaf, retain_graph=len(scores) > 1)[0] for value in explained]
            height, width = feature.shape[2:]
            sums = [
                gradient.sum(dim=(2, 3)) if first is None else input_gradient_sum(first, gradient, (height, width))
                for gradient in gradients
            ]
            weights = [each.float()[:, :, None, None] / (_GRADIENT_SCALE * height * width) for each in sums]
            maps = [(weight * feature.detach().float()).sum(dim=1).relu_() for weight in weights]
    return [GradCam(raw, logits.detach().float()) for raw in maps]


def input_gradient_sum(convolution: nn.Conv2d, gradient: Tensor, size: tuple[int, int]) -> Tensor:
    r"""Return the sum over the positions of a convolution's gradient by its input, without that gradient.

    .. math:: \sum_p \frac{\partial s}{\partial A_{cp}} = \sum_{k, o} W_{kco} \sum_{q:\, q + o \text{ inside}} g_{kq}

    where :math:`g` is the gradient by the output; an offset :math:`o` of the kernel counts at those positions :math:`q`
    of the output where it lies on the map and not on the padding.

    Args:
        convolution: Of one group, padded by zeros.
        gradient: (N, K, h, w) of some scores by its output.
        size: Height and width of its input.

    Returns:
        (N, C), of the input's channels.

    Example:
        >>> convolution, image = nn.Conv2d(2, 3, 3, padding=1), torch.rand(1, 2, 5, 5, requires_grad=True)
        >>> gradient = torch.rand(1, 3, 5, 5)
        >>> (expected,) = torch.autograd.grad(convolution(image), image, gradient)
        >>> torch.allclose(input_gradient_sum(convolution, gradient, (5, 5)), expected.sum(dim=(2, 3)), atol=1e-5)
        True
    """
    inside = []
    for axis, side in enumerate(size):
        outputs = torch.arange(gradient.shape[2 + axis], device=gradient.device) * convolution.stride[axis]
        offsets = torch.arange(convolution.kernel_size[axis], device=gradient.device) * convolution.dilation[axis]
        place = outputs + offsets[:, None] - int(convolution.padding[axis])
        inside.append(((place >= 0) & (place < side)).to(gradient.dtype))  # offset, output
    rows, columns = inside
    reached = rows @ gradient @ columns.T  # (N, K, offset, offset)
    kernel = convolution.weight.detach().to(gradient.dtype)
    return reached.flatten(1) @ kernel.permute(0, 2, 3, 1).flatten(0, 2)


def _split_convolution(
    head: Callable[[Tensor], Tensor],
) -> tuple[nn.Conv2d | None, Callable[[Tensor], Tensor]]:
    """Return the convolution that a head begins with, and the rest; None and the head where it begins otherwise."""
    if not (isinstance(head, nn.Sequential) and type(head).forward is nn.Sequential.forward and len(head) > 1):
        return None, head
    first, *others = head
    if type(first) is not nn.Conv2d or first.groups > 1 or first.padding_mode != "zeros":
        return None, head
    return (None, head) if isinstance(first.padding, str) else (first, nn.Sequential(*others))


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as outside, but without its cache, where ``no_grad`` code may have left weight casts with no graph."""
    kind = device.type
    return torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)
