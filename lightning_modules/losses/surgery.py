"""Gradient surgery: PCGrad (Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def project_conflicts(gradients: Tensor) -> Tensor:
    """Return the sum of the tasks' gradients after each lost what conflicts with another one's.

    Gradient i is projected on the plane orthogonal to gradient j where their product is negative, for all j in a random
    order (of PyTorch's generator), each j as it was.

    Args:
        gradients: (T, n) float, one row a task.

    Returns:
        (n,) float.

    Example:
        (1, 0) and (-1, 1) conflict: each loses its share along the other, which leaves (1/2, 1/2) and (0, 1).

        >>> project_conflicts(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
        tensor([0.5000, 1.5000])
    """
    originals = gradients.detach()
    squares = originals.square().sum(dim=1)
    projected = gradients.clone()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients)).tolist():
            if j == i:
                continue
            product = projected[i] @ originals[j]
            conflicts = (product < 0) & (squares[j] > 0)
            share = torch.where(conflicts, product / squares[j].clamp(min=1e-30), 0.0)
            projected[i] -= share * originals[j]
    return projected.sum(dim=0)


def pcgrad_backward(
    loss: Tensor, parts: Tensor, shared: Sequence[nn.Parameter], separate: Sequence[nn.Parameter]
) -> None:
    """Add to ``.grad`` as ``loss.backward()`` does, with surgery on the parameters that the tasks share.

    Args:
        loss: The sum of the parts times what Lightning made of it (loss scale of mixed precision, share of an
            accumulated batch).
        parts: (T,) the tasks' parts of the loss.
        shared: Parameters of the base network: their gradients are projected.
        separate: All others, of one task each: their gradients are the plain ones.
    """
    (scale,) = torch.autograd.grad(loss, parts, retain_graph=True)
    torch.autograd.backward(loss, inputs=list(separate), retain_graph=True)

    # a row of gradients for each part
    rows = []
    for index in range(len(parts)):
        weights = torch.zeros_like(scale)
        weights[index] = scale[index]
        last = index == len(parts) - 1
        gradients = torch.autograd.grad(
            parts, shared, grad_outputs=weights, retain_graph=not last, materialize_grads=True
        )
        rows.append(torch.cat([gradient.flatten().float() for gradient in gradients]))

    # back to the parameters' shapes
    combined = project_conflicts(torch.stack(rows))
    for parameter, flat in zip(shared, combined.split([p.numel() for p in shared]), strict=True):
        gradient = flat.view_as(parameter).to(parameter.dtype)
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
