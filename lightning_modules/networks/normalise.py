"""Grey images as networks with ImageNet weights take them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Grey uint8 images to normalised three-channel ones, on the device.

    Grey is repeated to three channels, scaled to 0-1 and normalised with ImageNet's mean and standard deviation.
    Nothing of it is saved in a checkpoint.

    Example:
        >>> black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> Normalise()(black_and_white).flatten(1)
        tensor([[-2.1179, -2.0357, -1.8044],
                [ 2.2489,  2.4286,  2.6400]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, H, W), in the module's floating type, of (N, 1, H, W) uint8 images."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std
