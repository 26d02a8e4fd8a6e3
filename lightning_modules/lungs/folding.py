"""A trained network without its batch normalisations: each becomes part of the convolution before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_batch_norms(network: nn.Module, images: Tensor) -> None:
    """Fold every batch normalisation that follows a convolution into it, in place; its activation stays.

    Outputs are the same but for rounding, in less time. The network can be trained no more.

    Args:
        network: In eval mode.
        images: An input, as small as it may be: one forward shows which convolution feeds which normalisation.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> images = torch.rand(1, 1, 8, 8)
        >>> before = network(images)
        >>> fold_batch_norms(network, images)
        >>> network[1], torch.allclose(network(images), before, atol=1e-6)
        (Identity(), True)
    """
    outputs: list[tuple[Tensor, nn.Conv2d]] = []  # of every convolution; kept, so that no other tensor takes its place
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def note_output(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(convolution, nn.Conv2d)
        outputs.append((output, convolution))

    def note_pair(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        pairs.extend((convolution, norm) for tensor, convolution in outputs if tensor is inputs[0])

    # which follows which
    hooks = [m.register_forward_hook(note_output) for m in network.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_hook(note_pair) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    network(images)
    for hook in hooks:
        hook.remove()

    # timm's normalisations hold their activation
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in pairs:
        network.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        activation = getattr(norm, "act", None)
        network.set_submodule(names[norm], activation if isinstance(activation, nn.Module) else nn.Identity())
