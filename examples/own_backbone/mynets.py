"""A base network of one's own: its forward gives feature maps, fine to coarse."""

from itertools import pairwise

from torch import Tensor, nn


class Net(nn.Module):
    """Four stages; heads and Grad-CAM read the last map, the box head's pyramid all of them.

    covidmt finds strides and channels by a dry run.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.MaxPool2d(2)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(old, new, 3, stride=2, padding=1), nn.BatchNorm2d(new), nn.ReLU())
            for old, new in pairwise(widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps of stride 4, 8, 16 and 32 of normalised images (N, 3, S, S)."""
        maps, x = [], self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
