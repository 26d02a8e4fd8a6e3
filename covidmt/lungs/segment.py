"""``covidmt lungs masks`` and ``covidmt lungs export``: what a trained segmenter is used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track

from datamodules.images.decode import decode, resize
from datamodules.images.mask_files import Areas, write_mask
from datamodules.images.masks import in_convention
from datamodules.sources.files import list_images
from experiments.errors import UserError
from experiments.lungs.masks import HEARTS
from experiments.lungs.poses import pose_lines
from experiments.names import Terminal, printable
from lightning_modules.lungs.segmentation import mask_at
from lightning_modules.lungs.segmenters import Segmenter, load_segmenter, native_of, require_convention
from lightning_modules.lungs.unet import LungUNet

_LISTED = 20  # images that could not be read in the last message


class DrawnFilm(NamedTuple):
    """What a segmenter draws on one film.

    Attributes:
        path: The film's file.
        areas: Lungs and heart at the film's own size.
        pose: How the picture lies, of :data:`~experiments.lungs.poses.POSES`; None: the segmenter does not say.
    """

    path: Path
    areas: Areas
    pose: str | None


def write_masks(segmenter: str | Path, images: Path, out: Path, heart: str = "in") -> None:
    """Write a lung mask for every image: ``<out>/<image stem>.png``, 0/255, at the image's own size.

    Images that cannot be read are named at the end, when all others are done.

    Args:
        segmenter: Of :func:`lightning_modules.lungs.segmenters.load_segmenter`.
        images: An image or a folder of images (PNG, JPEG, DICOM, ...).
        out: Folder, made where it does not exist.
        heart: ``in``: lung fields with the part behind the heart; ``out``: lungs that stop at the heart.

    Raises:
        UserError: The segmenter cannot be read or does not know the convention, there is no image, two images share a
            stem; or, after all others, images cannot be read.
    """
    # mistakes come before the first image
    if heart not in HEARTS:
        raise UserError(f"--heart: takes {' or '.join(HEARTS)}, not {heart!r}")
    network = load_segmenter(segmenter)
    require_convention(network, heart, "--segmenter")
    paths = sorted(map(Path, list_images(images).values())) if images.is_dir() else [images]
    if not paths:
        raise UserError(f"{images}: no images in this folder")
    _check_names(paths, out)

    # one by one
    errors: dict[Path, UserError] = {}
    without_lungs, unknown, poses = [], [], {}
    for film in segment_files(network, paths, skipped=errors):
        lungs = in_convention(film.areas, heart)
        if not film.areas.lungs.any():
            without_lungs.append(film.path.name)
            lungs = film.areas.lungs
        if lungs is None:
            unknown.append(film.path.name)
            continue
        write_mask(out / f"{film.path.stem}.png", lungs)
        if film.pose is not None:
            poses[film.path.name] = film.pose

    # what was written, and what to look at
    console = Terminal(markup=False)
    written = len(paths) - len(errors) - len(unknown)
    console.print(f"{written} masks in {out}: {HEARTS[heart]}", soft_wrap=True)
    for names, what in ((without_lungs, "no lung found in"), (unknown, f"--heart {heart} is unknown, no mask of")):
        if names:
            console.print(
                f"{what} {len(names)} of {len(paths)}: {', '.join(map(printable, names[:5]))}", soft_wrap=True
            )
    for line in pose_lines(poses):
        console.print(f"Warning: {line}", soft_wrap=True)
    refuse_unreadable(errors, len(paths))


def refuse_unreadable(errors: Mapping[Path, UserError], count: int) -> None:
    """Raise one error that names the images that could not be read.

    Args:
        errors: Image -> what is wrong with it.
        count: Of how many images.
    """
    if errors:
        more = [f"and {len(errors) - _LISTED} more"] if len(errors) > _LISTED else []
        listed = [str(error) for error in list(errors.values())[:_LISTED]]
        raise UserError("\n  ".join([f"{len(errors)} of {count} images could not be read:", *listed, *more]))


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
    segmenter: Segmenter,
    paths: Sequence[Path],
    batch_size: int = 16,
    *,
    skipped: dict[Path, UserError] | None = None,
    device: torch.device | None = None,
) -> Iterator[DrawnFilm]:
    """Yield what is drawn on each image file.

    Args:
        segmenter: What draws.
        paths: Image files.
        batch_size: Images at a time.
        skipped: Takes the images that cannot be read, with the reason; None: the first one ends it.
        device: Where the segmenter computes; None: on the GPU if there is one.

    Raises:
        UserError: An image cannot be read.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    segmenter.to(device)
    for start in track(range(0, len(paths), batch_size), f"Lung masks of {len(paths)} images"):
        greys = dict(_decode_all(paths[start : start + batch_size], skipped))
        if not greys:
            continue
        inputs = torch.from_numpy(np.stack([resize(grey, segmenter.image_size) for grey in greys.values()]))[:, None]
        drawn = segmenter.segment(inputs.to(device))
        for row, (path, grey) in enumerate(greys.items()):
            heart = None if drawn.heart is None else mask_at(drawn.heart[row], grey.shape)
            areas = Areas(mask_at(drawn.lungs[row], grey.shape), heart, native_of(segmenter))
            yield DrawnFilm(path, areas, drawn.pose_names[row])


def _decode_all(paths: Sequence[Path], skipped: dict[Path, UserError] | None) -> Iterator[tuple[Path, np.ndarray]]:
    for path in paths:
        try:
            yield path, decode(path)
        except UserError as error:
            if skipped is None:
                raise
            skipped[path] = error
