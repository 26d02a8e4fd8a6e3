"""Lung masks, read: a data set's own folder by file stem, else the cache of computed ones by image content."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.images.decode import crop_top, decode
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.schema import Masks

logger = logging.getLogger("covidmt")


class LungMasks:
    """Looks up the lung mask of an image.

    Args:
        masks: The settings; of two folders with the same stem the first wins. A folder that does not exist is skipped
            with a note where there is a segmenter.
        segmenter: Id of the segmenter whose computed masks are used; None: none.

    Attributes:
        source: What the masks are, for every score to be logged with: ``none``, ``folders``, ``segmenter:<id>`` or
            ``folders+segmenter:<id>``.

    Raises:
        UserError: A folder that does not exist, and no segmenter.
    """

    def __init__(self, masks: Masks, segmenter: str | None = None) -> None:
        self.cache = masks.cache_folder
        self.segmenter = segmenter
        self._computed: dict[str, Path] = {}  # looked up by the content of the image, so once
        self.own: dict[str, Path] = {}
        folders = masks.mask_folders
        present = [folder for folder in folders if folder.is_dir()]
        for folder in folders:
            if folder in present:
                for path in sorted(folder.glob("*.png")):
                    self.own.setdefault(path.stem, path)
            elif segmenter or masks.segmenter:
                _note_absent(folder)
            else:
                raise UserError(
                    f"data.masks.folders: there is no folder '{folder}'; leave it out (data.masks.folders=[]) "
                    "where the data brings no masks"
                )
        parts = ["folders"] * bool(present) + ([f"segmenter:{segmenter}"] if segmenter else [])
        self.source = "+".join(parts) or "none"

    def find(self, image: str | Path) -> Path | None:
        """The mask file of an image, or None."""
        if own := self.own.get(Path(image).stem):
            return own
        if self.segmenter is None:
            return None
        if (known := self._computed.get(str(image))) is not None:
            return known
        cached = cache_path(self.cache, self.segmenter, image)
        if not cached.exists():
            return None
        return self._computed.setdefault(str(image), cached)

    def missing(self, images: Iterable[str]) -> list[str]:
        """The images that have neither a mask of their own nor a computed one."""
        return [image for image in images if self.find(image) is None]

    def empty(self, images: Iterable[str], size: int, top: float = 0.0) -> list[str]:
        """The images without a lung at input size (:meth:`read`), or without a mask."""
        images = list(images)
        with ThreadPoolExecutor() as threads:  # the decoder lets go of the interpreter
            found = threads.map(lambda image: self.read(image, size, top).any(), images)
            return [image for image, any_lung in zip(images, found, strict=True) if not any_lung]

    def read(self, image: str | Path, size: int, top: float = 0.0, pixels: np.ndarray | None = None) -> np.ndarray:
        """The lung fields of an image at input size: (size, size) bool, all False where there is no mask.

        Args:
            image: The image's file.
            size: Side of the input.
            top: Share of the image that is cut off at the top.
            pixels: (H, W), the whole image; None: whether the mask fits it is not checked.

        Raises:
            UserError: A mask file that cannot be read, or is of another image.
        """
        path = self.find(image)
        if path is None:
            return np.zeros((size, size), bool)
        mask = read_mask(path)
        if pixels is not None:
            check_fit(mask, path, pixels, image)
        mask = crop_top(mask, top)
        return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))


@functools.cache  # once a folder: the masks are looked up again and again
def _note_absent(folder: Path) -> None:
    logger.warning(f"data.masks.folders: there is no folder '{folder}'; data.masks.segmenter makes the masks instead")


def read_mask(path: str | Path) -> np.ndarray:
    """A mask file of any image format as (H, W) bool: lung is half of the file's brightest value and above.

    So masks of 0/1 and 0/255 are read alike, and the traces of JPEG around an edge fall away.

    Raises:
        UserError: A file that cannot be read.
    """
    try:
        grey = decode(path)
    except UserError as error:
        raise UserError(f"lung mask {error}") from error
    return grey >= max(int(grey.max()), 1) / 2


def check_fit(mask: np.ndarray, mask_path: str | Path, image: np.ndarray, image_path: str | Path) -> None:
    """Refuse a mask of other proportions than its image's: a scaled mask is fine, one of a cropped image is not.

    Raises:
        UserError: They differ by more than 2 % and a pixel.
    """
    (height, width), (mask_height, mask_width) = image.shape, mask.shape
    scaled = mask_width * height / width
    if abs(scaled - mask_height) > 0.02 * mask_height + 1:
        raise UserError(
            f"{mask_path}: a mask of {mask_width}x{mask_height} pixels does not lie on its image {image_path} of "
            f"{width}x{height}; give the mask of the whole image, or take it away"
        )


def cache_path(cache: Path, segmenter: str, image: str | Path) -> Path:
    """Where the mask that a segmenter computes of an image is kept: ``<cache>/<segmenter>/<sha256 of file>.png``."""
    try:
        digest = sha256(Path(image).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{image}: this image cannot be read ({error.strerror})") from error
    return cache / segmenter / f"{digest}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask as a 0/255 PNG, whole or not at all: several processes may fill one cache."""
    try:
        with replace_file(path, shared=True) as new:
            Image.fromarray(mask.astype(np.uint8) * 255).save(new, "PNG")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room, or name another folder") from error
