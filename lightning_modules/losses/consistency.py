"""Consistency training: the same answer to an image and to what a messaging channel makes of it.

What paper 000 names as a remedy against prediction instability and sets aside. As stability training (Zheng et al.,
Improving the Robustness of Deep Neural Networks via Stability Training, CVPR 2016, Eq. 6), with the original's answer
held fixed (Xie et al., Unsupervised Data Augmentation for Consistency Training, NeurIPS 2020, Eq. 1), so that the
received image's answer moves to the original's and not the other way round.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from experiments.schema import TaskKind


def divergence(original: Tensor, received: Tensor, kind: TaskKind) -> Tensor:
    """Return the mean over the images of KL(p(original) || p(received)); no label is needed.

    Args:
        original: (N, L) logits, any floating type; no gradient flows to them.
        received: (N, L) logits of the received images.
        kind: ``multiclass``: of the softmax; ``multilabel``: of every sigmoid, averaged over the labels.

    Returns:
        A scalar float32 >= 0; 0 where there is no image.

    Example:
        p = 3/4 against q = 1/2: 3/4 ln(3/2) + 1/4 ln(1/2).

        >>> import torch
        >>> divergence(torch.tensor([[3.0]]).log(), torch.zeros(1, 1), TaskKind.multilabel)
        tensor(0.1308)
    """
    target, answer = original.detach().float(), received.float()
    if kind is TaskKind.multiclass:
        total = F.kl_div(answer.log_softmax(1), target.log_softmax(1), log_target=True, reduction="sum")
        return total / max(len(answer), 1)

    # of two sigmoids the divergence is cross-entropy less entropy
    p = target.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(answer, p, reduction="none")
    entropy = F.binary_cross_entropy_with_logits(target, p, reduction="none")
    return (cross_entropy - entropy).sum() / max(answer.numel(), 1)
