"""``covidmt lungs masks`` and ``covidmt lungs export``: what a trained segmenter is used for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from datamodules.images.decode import decode, resize
from datamodules.images.masks import write_mask
from datamodules.sources.files import list_images
from experiments.errors import UserError
from lightning_modules.lungs.segmenters import Segmenter, load_segmenter
from lightning_modules.lungs.unet import LungUNet


def write_masks(segmenter: str | Path, images: Path, out: Path) -> None:
    """Write a lung mask for every image: ``<out>/<image stem>.png``, 0/255, at the image's own size.

    Args:
        segmenter: Of :func:`lightning_modules.lungs.segmenters.load_segmenter`.
        images: An image or a folder of images (PNG, JPEG, DICOM, ...).
        out: Folder, made where it does not exist.

    Raises:
        UserError: The segmenter or an image cannot be read, there is no image, or two images share a stem.
    """
    network = load_segmenter(segmenter)
    paths = sorted(map(Path, list_images(images).values())) if images.is_dir() else [images]
    if not paths:
        raise UserError(f"{images}: no images in this folder")
    _check_names(paths, out)

    without_lungs = []
    for path, mask in segment_files(network, paths):
        write_mask(out / f"{path.stem}.png", mask)
        if not mask.any():
            without_lungs.append(path.name)

    console = Console(markup=False)
    console.print(f"{len(paths)} masks in {out}", soft_wrap=True)
    if without_lungs:
        names = ", ".join(without_lungs[:5])
        console.print(f"no lung found in {len(without_lungs)} of them: {names}", soft_wrap=True)


def _check_names(paths: Sequence[Path], out: Path) -> None:
    """Refuse masks that would replace each other, or an image."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise UserError(f"{other} and {path} would both be written to {path.stem}.png; rename one of them")
    if out.resolve() == paths[0].parent.resolve():
        raise UserError(f"{out}: masks would lie among the images, and replace those in PNG; name another folder")


def export_segmenter(checkpoint: Path, out: Path) -> None:
    """Write a trained segmenter in half precision, without its training's settings: a quarter of the size or less.

    Raises:
        UserError: The checkpoint cannot be read, or the file cannot be written.
    """
    try:
        LungUNet.load(checkpoint).export(out)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{out}: cannot be written: {error}") from error


def segment_files(
    segmenter: Segmenter, paths: Sequence[Path], batch_size: int = 16
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield each image file with its lungs, (H, W) bool at the image's own size; on the GPU if there is one.

    Raises:
        UserError: An image cannot be read.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    segmenter.to(device)
    for start in track(range(0, len(paths), batch_size), f"Lung masks of {len(paths)} images"):
        batch = paths[start : start + batch_size]
        greys = [decode(path) for path in batch]
        inputs = torch.from_numpy(np.stack([resize(grey, segmenter.image_size) for grey in greys]))[:, None]
        masks = segmenter.segment(inputs.to(device)).cpu().numpy()
        for path, grey, mask in zip(batch, greys, masks, strict=True):
            yield path, np.asarray(Image.fromarray(mask).resize(grey.shape[::-1], Image.Resampling.NEAREST))
