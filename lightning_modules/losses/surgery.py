"""Gradient surgery: PCGrad (Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def project_conflicts(gradients: Tensor) -> Tensor:
    """The sum of the tasks' gradients after each lost what conflicts with another one's.

    Gradient i is projected on the plane orthogonal to gradient j where their product is negative, for all j in a random
    order (of PyTorch's generator), each j as it was.

    Args:
        gradients: (T, n), one a task.

    Returns:
        (n,)
    """
    products = gradients.detach()
    squares = products.square().sum(dim=1)
    projected = gradients.clone()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients)).tolist():
            if j == i:
                continue
            product = projected[i] @ products[j]
            share = torch.where((product < 0) & (squares[j] > 0), product / squares[j].clamp(min=1e-30), 0.0)
            projected[i] -= share * products[j]
    return projected.sum(dim=0)


def pcgrad_backward(loss: Tensor, parts: Tensor, shared: Sequence[nn.Parameter], own: Sequence[nn.Parameter]) -> None:
    """Backward with surgery: adds to ``.grad`` as ``loss.backward()`` does.

    Args:
        loss: The sum of the parts times what Lightning made of it (loss scale of mixed precision, share of an
            accumulated batch).
        parts: (T,) the tasks' parts of the loss.
        shared: Parameters of the base network: these gradients are projected.
        own: All others, of one task each: plain gradients.
    """
    (scale,) = torch.autograd.grad(loss, parts, retain_graph=True)
    torch.autograd.backward(loss, inputs=list(own), retain_graph=True)
    rows = []
    for index in range(len(parts)):
        only = torch.zeros_like(scale)
        only[index] = scale[index]
        found = torch.autograd.grad(
            parts, shared, grad_outputs=only, retain_graph=index < len(parts) - 1, materialize_grads=True
        )
        rows.append(torch.cat([gradient.flatten().float() for gradient in found]))
    combined = project_conflicts(torch.stack(rows))
    for parameter, gradient in zip(shared, combined.split([p.numel() for p in shared]), strict=True):
        gradient = gradient.view_as(parameter).to(parameter.dtype)
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
