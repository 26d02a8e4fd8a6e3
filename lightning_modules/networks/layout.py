"""Which networks ``model.channels_last`` can be trained with."""

from __future__ import annotations

from torch import nn

from experiments.errors import UserError

_BLOCK = 16  # input channels that oneDNN's kernels take at a time with AVX-512; 8 with AVX2


def refuse_broken_channels_last(network: nn.Module) -> None:
    """Refuse a network whose training with ``channels_last`` would write over foreign memory on a CPU.

    The backward of a strided 1x1 convolution of fewer than 16 input channels writes past its workspace in oneDNN, the
    library behind PyTorch's convolutions on CPUs (uxlfoundation/oneDNN#6035, open; seen with torch 2.15): the process
    crashes, hangs, or goes on with wrong numbers. GPUs are not concerned.

    Args:
        network: The network, of any memory format.

    Raises:
        UserError: It has such a layer, which is named.

    Example:
        >>> refuse_broken_channels_last(nn.Sequential(nn.Conv2d(64, 128, 1, stride=2)))  # as ResNet's: passes
        >>> refuse_broken_channels_last(nn.Sequential(nn.Conv2d(3, 16, 1, stride=2)))
        Traceback (most recent call last):
            ...
        experiments.errors.UserError: model.channels_last: layer 0 is a strided 1x1 convolution of 3 input channels, ...
    """
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or max(layer.stride) == 1:
            continue
        channels = layer.in_channels // layer.groups
        if channels < _BLOCK:
            raise UserError(
                f"model.channels_last: layer {name} is a strided 1x1 convolution of {channels} input channels, whose "
                "backward corrupts memory on CPUs in this layout (uxlfoundation/oneDNN#6035); "
                "use model.channels_last=false, or a GPU"
            )
