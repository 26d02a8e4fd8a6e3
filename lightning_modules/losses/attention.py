"""An attention penalty: the heat of Grad-CAM outside the lungs.

Right for the right reasons (Ross, Hughes, Doshi-Velez, IJCAI 2017, Eq. 1) penalises input gradients where an annotation
says that they must not be; here it is Grad-CAM on the last feature map (Selvaraju et al., ICCV 2017), the map of which
out-of-lung saliency is counted, so that one backward through the head is enough.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SCALE = 1024.0  # keeps half-precision gradients off the subnormal range; it cancels out in the share


def heat_outside(feature: Tensor, head: nn.Module, score: Callable[[Tensor], Tensor], lungs: Tensor) -> Tensor:
    """Return the share of Grad-CAM's heat that lies outside the lungs, averaged over the images; differentiable.

    The head is in eval mode for it, as where OLS is measured: with a batch's own statistics the gradient of the summed
    scores would pass through the other images, and add up to nothing. Those running statistics are part of the graph:
    no pass of this head in train mode may come between this and the backward.

    Images without lungs, or whose map is zero everywhere, do not count; without any the penalty is 0.

    Args:
        feature: (N, C, h, w) the map that the head reads.
        head: Maps it to logits (N, labels); its mode is restored.
        score: Logits to what is explained, (N,) (:meth:`explain.decision.Decision.score`).
        lungs: (N, S, S) bool; the share of a map's cell that is lung counts as inside.

    Returns:
        A scalar float32 in [0, 1].

    Example:
        Of the heat 3 + 1 the lungs, the left half, hold 3.

        >>> feature = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]]], requires_grad=True)
        >>> lungs = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> lungs[:, :, :2] = True
        >>> heat_outside(feature, nn.Identity(), lambda maps: maps.sum(dim=(1, 2, 3)), lungs).item()
        0.25
    """
    # the head's answer as in evaluation, and its gradient
    training = head.training
    scores = score(head.eval()(feature))
    head.train(training)
    (gradient,) = torch.autograd.grad(scores.sum() * _SCALE, feature, create_graph=True)

    # Grad-CAM
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    heat = (weights * feature.float()).sum(dim=1).relu()
    total = heat.sum(dim=(1, 2))

    # the share outside, of the images that have lungs and heat
    inside = F.adaptive_avg_pool2d(lungs[:, None].float(), (feature.shape[2], feature.shape[3]))[:, 0]
    counts = (total.detach() > 0) & lungs.flatten(1).any(dim=1)
    share = (heat * (1 - inside)).sum(dim=(1, 2)) / torch.where(counts, total, 1.0)
    return torch.where(counts, share, 0.0).sum() / counts.sum().clamp(min=1)
