"""Drawing lungs with the segmenter that comes with the project: milliseconds a film of one core.

    python benchmarks/lung_masks.py [--batch 8] [--side 1024] [--runs 15]

``drawn`` is what `segment` does with a batch: the network on every film and on its mirror image, the largest areas,
holes. ``unfolded`` does the same with the network as it was trained, with its batch normalisations, and is the
baseline. ``whole`` adds what `covidmt lungs masks` does besides reading and writing: films of ``--side`` are resized,
and masks are drawn at the films' own size. Times are CPU times of this process, one thread.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import interval, ratio, rounds

from datamodules.images.decode import resize
from lightning_modules.lungs.segmentation import mask_at
from lightning_modules.lungs.segmenters import SHIPPED, load_segmenter, load_unet


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)

    segmenter, unet = load_segmenter(SHIPPED), load_unet(SHIPPED)
    assert unet is not None
    films = [film(given.side, seed) for seed in range(given.batch)]
    images = torch.from_numpy(np.stack([resize(grey, segmenter.image_size) for grey in films]))[:, None]

    def whole() -> None:
        inputs = torch.from_numpy(np.stack([resize(grey, segmenter.image_size) for grey in films]))[:, None]
        drawn = segmenter.segment(inputs)
        assert drawn.heart is not None
        for lungs, heart, grey in zip(drawn.lungs, drawn.heart, films, strict=True):
            mask_at(lungs, grey.shape)
            mask_at(heart, grey.shape)

    times = rounds(
        {"drawn": lambda: segmenter.segment(images), "unfolded": lambda: unet.segment(images), "whole": whole},
        given.runs,
    )
    for name, seconds in times.items():
        print(f"{name:10s} {interval([1000 * each / given.batch for each in seconds], '.0f')} ms a film")
    print(f"drawn takes {ratio(times, 'drawn', 'unfolded')} of the time of unfolded")


def film(side: int, seed: int) -> np.ndarray:
    """Two dark ovals on a bright ground, with noise: (side, side) uint8."""
    y, x = np.mgrid[:side, :side] / side
    ovals = [((x - centre) / 0.15) ** 2 + ((y - 0.5) / 0.3) ** 2 < 1 for centre in (0.3, 0.7)]
    shades = np.where(np.logical_or(*ovals), 60, 160) + np.random.default_rng(seed).normal(0, 8, (side, side))
    return shades.clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
