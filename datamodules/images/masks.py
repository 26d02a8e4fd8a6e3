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
    """Look-up of lung masks: a data set's own file of the image's name, else a segmenter's by the image's content.

    Args:
        masks: The settings; of two folders with the same stem the first wins. A folder that does not exist is skipped
            with a note where there is a segmenter.
        segmenter: Id of the segmenter whose computed masks are used; None: none.

    Attributes:
        source: What the masks are, for every score to be logged with: ``none``, ``folders``, ``segmenter:<id>`` or
            ``folders+segmenter:<id>``.

    Raises:
        UserError: A folder that does not exist, and no segmenter.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder, "chest.png"), np.array([[True, False], [True, False]]))
        ...     masks = LungMasks(Masks(folders=[folder]))
        ...     masks.source, masks.read("films/chest.dcm", size=2).tolist(), masks.find("other.png")
        ('folders', [[True, False], [True, False]], None)
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
        """Return the mask file of an image, or None."""
        brought = self.own.get(Path(image).stem)
        if brought or self.segmenter is None:
            return brought

        if str(image) not in self._computed:
            path = cache_path(self.cache, self.segmenter, image)
            if not path.exists():
                return None
            self._computed[str(image)] = path
        return self._computed[str(image)]

    def missing(self, images: Iterable[str]) -> list[str]:
        """Return the images that have neither a mask of their own nor a computed one."""
        return [image for image in images if self.find(image) is None]

    def empty(self, images: Iterable[str], size: int, top: float = 0.0) -> list[str]:
        """Return the images without a lung at input size (:meth:`read`), or without a mask."""
        images = list(images)
        with ThreadPoolExecutor() as threads:  # the decoder lets go of the interpreter
            any_lung = threads.map(lambda image: self.read(image, size, top).any(), images)
            return [image for image, lungs in zip(images, any_lung, strict=True) if not lungs]

    def read(self, image: str | Path, size: int, top: float = 0.0, pixels: np.ndarray | None = None) -> np.ndarray:
        """Return the lung fields of an image at input size.

        Args:
            image: The image's file.
            size: Side of the input, in pixels.
            top: Share of the image that is cut off at the top, 0 to below 1.
            pixels: (H, W), the whole image; None: whether the mask fits it is not checked.

        Returns:
            (size, size) bool, True in the lungs; all False where there is no mask.

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
    """Read a mask file of any image format as (H, W) bool: lung is half of the file's brightest value and above.

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
    """Return where a segmenter's mask of an image is kept: ``<cache>/<segmenter>/<sha256 of the image's file>.png``.

    Raises:
        UserError: The image cannot be read.
    """
    try:
        digest = sha256(Path(image).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{image}: this image cannot be read ({error.strerror})") from error
    return cache / segmenter / f"{digest}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask as a 0/255 PNG, whole or not at all: several processes may fill one cache.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        with replace_file(path, shared=True) as new:
            Image.fromarray(mask.astype(np.uint8) * 255).save(new, "PNG")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room, or name another folder") from error
