"""What PI says by itself: the compression's change replaced by noise, or kept in one part of the image only."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def white_noise(original: Tensor, received: Tensor, ids: list[str]) -> Tensor:
    """The originals with Gaussian white noise of exactly the RMS that the channel's change has.

    Args:
        original: (N, 1, S, S) uint8.
        received: (N, 1, S, S) uint8.
        ids: N names, of which the noise is drawn: the same in any batch and process.

    Returns:
        (N, 1, S, S) float32 around the originals' 0-255, neither rounded nor clipped, which would change the RMS.
    """
    noise = torch.stack([_noise(name, image.shape) for name, image in zip(ids, original, strict=True)])
    rms = _rms(received.float() - original.float())
    return original.float() + (noise * (rms.cpu() / _rms(noise))).to(original.device)


def change_inside(original: Tensor, received: Tensor, area: Tensor) -> Tensor:
    """The received pixels where ``area``, (N, S, S) bool, is true, the original's elsewhere: (N, 1, S, S) uint8."""
    return torch.where(area[:, None], received, original)


def blacked_out(images: Tensor, area: Tensor) -> Tensor:
    """The (N, 1, S, S) uint8 images with ``area``, (N, S, S) bool, black."""
    return images.masked_fill(area[:, None], 0)


def inner_square(size: int, border: float = 0.1) -> Tensor:
    """(size, size) bool: all but a frame of ``border`` of the side."""
    width = round(size * border)
    inner = torch.zeros(size, size, dtype=torch.bool)
    inner[width : size - width, width : size - width] = True
    return inner


def _noise(name: str, shape: torch.Size) -> Tensor:
    seed = int.from_bytes(sha256(name.encode()).digest()[:8], "little", signed=True)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _rms(change: Tensor) -> Tensor:
    return change.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
