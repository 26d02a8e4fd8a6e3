"""Consistency training: the answer to an image and to its copy after a messaging channel shall be the same.

What paper 000 names as a remedy against prediction instability and sets aside. As stability training (Zheng et al.,
Improving the Robustness of Deep Neural Networks via Stability Training, CVPR 2016, Eq. 6), with the original's answer
held fixed (Xie et al., Unsupervised Data Augmentation for Consistency Training, NeurIPS 2020, Eq. 1), so that the copy
moves to the original and not the other way round.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from experiments.schema import TaskKind


def consistency(original: Tensor, copy: Tensor, kind: TaskKind) -> Tensor:
    """Mean over the images of the divergence KL(p(original) || p(copy)), a scalar >= 0; no label is needed.

    Args:
        original: (N, L) logits; no gradient flows to them.
        copy: (N, L) logits of the copies.
        kind: ``multiclass``: of the softmax; ``multilabel``: of every sigmoid, averaged over the labels.
    """
    target, answer = original.detach().float(), copy.float()
    if kind is TaskKind.multiclass:
        return F.kl_div(answer.log_softmax(1), target.log_softmax(1), log_target=True, reduction="sum") / max(
            len(answer), 1
        )
    p = target.sigmoid()
    divergence = F.binary_cross_entropy_with_logits(answer, p, reduction="none")
    divergence = divergence - F.binary_cross_entropy_with_logits(target, p, reduction="none")
    return divergence.sum() / max(divergence.numel(), 1)
