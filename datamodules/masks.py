"""Lung masks, read: a data set's own folder by file stem, else the cache of computed ones by image content."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from PIL import Image

from experiments.errors import UserError
from experiments.schema import Masks


class LungMasks:
    """Looks up the lung mask of an image.

    Args:
        masks: The settings; of two folders with the same stem the first wins.
        segmenter: Id of the segmenter whose computed masks are used; None: none.

    Attributes:
        source: What the masks are, for every score to be logged with: ``none``, ``folders``, ``segmenter:<id>`` or
            ``folders+segmenter:<id>``.

    Raises:
        UserError: A folder that does not exist.
    """

    def __init__(self, masks: Masks, segmenter: str | None = None) -> None:
        self.cache = Path(masks.cache)
        self.segmenter = segmenter
        self.own: dict[str, Path] = {}
        for folder in masks.folders:
            if not Path(folder).is_dir():
                raise UserError(
                    f"data.masks.folders: there is no folder '{folder}'; leave it out (data.masks.folders=[]) "
                    "where the data brings no masks"
                )
            for path in sorted(Path(folder).glob("*.png")):
                self.own.setdefault(path.stem, path)
        parts = ["folders"] * bool(masks.folders) + ([f"segmenter:{segmenter}"] if segmenter else [])
        self.source = "+".join(parts) or "none"

    def find(self, image: str | Path) -> Path | None:
        """The mask file of an image, or None."""
        if own := self.own.get(Path(image).stem):
            return own
        if self.segmenter is None:
            return None
        cached = cache_path(self.cache, self.segmenter, image)
        return cached if cached.exists() else None

    def missing(self, images: Iterable[str]) -> list[str]:
        """The images that have neither a mask of their own nor a computed one."""
        return [image for image in images if self.find(image) is None]

    def read(self, image: str | Path, size: int) -> np.ndarray:
        """The lung fields of an image at input size: (size, size) bool, all False where there is no mask.

        Raises:
            UserError: A mask file that cannot be read.
        """
        path = self.find(image)
        if path is None:
            return np.zeros((size, size), bool)
        try:
            with Image.open(path) as file:
                mask = file.convert("L").point([0] * 128 + [255] * 128)  # > 127
                return np.array(mask.resize((size, size), Image.Resampling.NEAREST)) > 0
        except OSError as error:
            raise UserError(f"{path}: this lung mask cannot be read ({error}); delete or replace it") from error


def cache_path(cache: str | Path, segmenter: str, image: str | Path) -> Path:
    """Where the mask that a segmenter computes of an image is kept: ``<cache>/<segmenter>/<sha256 of file>.png``."""
    try:
        digest = sha256(Path(image).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{image}: this image cannot be read ({error.strerror})") from error
    return Path(cache) / segmenter / f"{digest}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask as a 0/255 PNG, whole or not at all: several processes may fill one cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    os.replace(file.name, path)
