"""Lung masks, read: a data set's own folder by file stem, else the cache of computed ones by image content."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datamodules.images.decode import crop_top
from datamodules.images.mask_files import Areas, cache_path, check_fit, join_masks, read_computed
from datamodules.images.mask_folders import MaskFolders
from experiments.errors import UserError
from experiments.lungs.masks import HEARTS, OTHER_HEART, Masks

logger = logging.getLogger("covidmt")

SHIPPED_SEGMENTER = "covidmt"
_TRIED = 20  # masks that are read to learn what a kind of masks knows


class Survey(NamedTuple):
    """Where the masks of some images come from.

    Attributes:
        images: Number of images.
        own: Of these, how many have a mask in a folder of their data set.
        computed: How many of the others have one that a segmenter drew.
    """

    images: int
    own: int
    computed: int


class LungMasks:
    """Look-up of lung masks: a data set's own of the image's name, else a segmenter's by the image's content.

    Args:
        masks: The settings. A folder that does not exist is skipped with a note where there is a segmenter.
        segmenter: Id of the segmenter whose computed masks are used; None: none.

    Attributes:
        heart: The convention of what :meth:`read` returns, ``in`` or ``out``; see
            :class:`~experiments.lungs.masks.Masks`.
        survey: Where the masks are from, once :meth:`count` has looked.

    Raises:
        UserError: A folder that does not exist, and no segmenter.

    Example:
        >>> import tempfile
        >>> from datamodules.images.mask_files import write_mask
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder, "chest.png"), np.array([[True, False], [True, False]]))
        ...     masks = LungMasks(Masks(folders=[folder]))
        ...     masks.source, masks.read("films/chest.dcm", size=2).tolist(), masks.find("other.png")
        ('folders', [[True, False], [True, False]], None)
    """

    def __init__(self, masks: Masks, segmenter: str | None = None) -> None:
        self.settings, self.cache, self.heart = masks, masks.cache_folder, masks.heart
        self.segmenter = segmenter
        self.survey: Survey | None = None
        self._computed: dict[str, Path] = {}  # looked up by the content of the image, so once
        self.own = MaskFolders(masks.mask_folders, masks.suffix)

        for folder in masks.mask_folders:
            if folder.is_dir():
                continue
            if segmenter or masks.segmenter:
                _note_absent(folder)
            else:
                raise UserError(
                    f"data.masks.folders: there is no folder '{folder}'; leave it out (data.masks.folders=[]) "
                    "where the data brings no masks"
                )

    @property
    def source(self) -> str:
        """What the masks are, for every score to be logged with.

        ``none``, ``folders``, ``segmenter:<id>`` or ``folders+segmenter:<id>``; folders without a mask of the images
        that :meth:`count` looked at are not named.
        """
        is_own = self.survey.own > 0 if self.survey else any(folder.is_dir() for folder in self.settings.mask_folders)
        parts = ["folders"] * is_own + ([f"segmenter:{self.segmenter}"] if self.segmenter else [])
        return "+".join(parts) or "none"

    def find(self, image: str | Path) -> Path | None:
        """Return the mask file of an image (of several the first), or None."""
        own = self.own.of(image)
        return own[0] if own else self._find_computed(image)

    def _find_computed(self, image: str | Path) -> Path | None:
        if self.segmenter is None:
            return None
        if str(image) not in self._computed:
            path = cache_path(self.cache, self.segmenter, image)
            if not path.exists():
                return None
            self._computed[str(image)] = path
        return self._computed[str(image)]

    def count(self, images: Iterable[str]) -> Survey:
        """Return, and remember as ``survey``, where the masks of some images come from."""
        images = list(images)
        own = sum(bool(self.own.of(image)) for image in images)
        found = sum(self.find(image) is not None for image in images)
        self.survey = Survey(len(images), own, found - own)
        return self.survey

    def missing(self, images: Iterable[str], *, both: bool = False) -> list[str]:
        """Return the images that a segmenter is needed for.

        Those without any mask; and those whose own mask is drawn in another convention than the scores', or, with
        ``both``, that are to be scored under both.
        """
        levels, native = self.settings.levels, self.settings.native
        knows_both = native == "in" and levels is not None and bool(levels.heart_levels)
        is_needed = not knows_both and (both or self.heart != native)
        look_up = self._find_computed if is_needed else self.find
        return [image for image in images if look_up(image) is None]

    def empty(self, images: Iterable[str], size: int, top: float = 0.0) -> list[str]:
        """Return the images without a lung at input size (:meth:`read`), or without a mask."""
        images = list(images)
        with ThreadPoolExecutor() as threads:  # the decoder lets go of the interpreter
            any_lung = threads.map(lambda image: self.read(image, size, top).any(), images)
            return [image for image, lungs in zip(images, any_lung, strict=True) if not lungs]

    def read(
        self,
        image: str | Path,
        size: int,
        top: float = 0.0,
        pixels: np.ndarray | None = None,
        heart: str | None = None,
    ) -> np.ndarray:
        """Return the lung fields of an image at input size.

        Args:
            image: The image's file.
            size: Side of the input, in pixels.
            top: Share of the image that is cut off at the top, 0 to below 1.
            pixels: (H, W), the whole image; None: whether the mask fits it is not checked.
            heart: The convention, ``in`` or ``out``; None: that of the settings.

        Returns:
            (size, size) bool, True in the lungs; all False where there is no mask, or none in this convention.

        Raises:
            UserError: A mask file that cannot be read, or is of another image.
        """
        mask = self._lungs(image, pixels, heart or self.heart)
        if mask is None:
            return np.zeros((size, size), bool)
        mask = crop_top(mask, top)
        return np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))

    def require_heart(self, images: Sequence[str]) -> None:
        """Refuse a convention that the masks do not know.

        Raises:
            UserError: Of the first images with masks of either kind, none has it.
        """
        own = [image for image in images if self.own.of(image)][:_TRIED]
        computed = [image for image in images if not self.own.of(image) and self.find(image)][:_TRIED]
        for kind, some in (("the folders' masks", own), ("the segmenter's masks", computed)):
            if some and all(self._lungs(image, None, self.heart) is None for image in some):
                raise UserError(
                    f"data.masks.heart={self.heart}: {HEARTS[self.heart]} are unknown of {kind}; use "
                    f"data.masks.segmenter={SHIPPED_SEGMENTER}, which draws the heart, or data.masks.heart="
                    f"{OTHER_HEART[self.heart]}"
                )

    def _lungs(self, image: str | Path, pixels: np.ndarray | None, heart: str) -> np.ndarray | None:
        """Return the lungs in a convention at the mask's own size; None: no mask, or none in it."""
        own, computed_file = self.own.of(image), self._find_computed(image)
        if not own:
            if computed_file is None:
                return None
            computed = read_computed(computed_file)
            _check(computed, computed_file, pixels, image)
            return in_convention(computed, heart)

        areas = join_masks(own, self.settings.levels)._replace(native=self.settings.native)
        _check(areas, own[0], pixels, image)
        computed = None if computed_file is None else resize_areas(read_computed(computed_file), areas.lungs.shape)
        return _complete(areas, computed, heart)


def _complete(own: Areas, computed: Areas | None, heart: str) -> np.ndarray | None:
    """Return a data set's own lungs in a convention, with the help of what a segmenter drew; None: not known."""
    lungs = in_convention(own, heart)
    if lungs is not None or computed is None:
        return lungs

    # the heart, and for lungs that stop at it the part behind it
    drawn_heart = computed.heart if own.heart is None else own.heart
    if heart == "out":
        return in_convention(own._replace(heart=drawn_heart), "out")
    fields = in_convention(computed, "in")
    return None if fields is None or drawn_heart is None else own.lungs | (fields & drawn_heart)


def in_convention(areas: Areas, heart: str) -> np.ndarray | None:
    """Return lungs in a convention; None: they are not known in it.

    Args:
        areas: Lungs and heart of one film.
        heart: ``in`` or ``out``.

    Example:
        >>> areas = Areas(np.array([[True, True, False]]), np.array([[False, True, True]]))
        >>> in_convention(areas, "in").tolist(), in_convention(areas, "out").tolist()
        ([[True, True, False]], [[True, False, False]])
    """
    if heart == areas.native:
        return areas.lungs
    if heart == "out" and areas.heart is not None and areas.heart.any():
        return areas.lungs & ~areas.heart
    return None


def _check(areas: Areas, path: Path, pixels: np.ndarray | None, image: str | Path) -> None:
    if pixels is not None:
        check_fit(areas.lungs, path, pixels, image)


def resize_areas(areas: Areas, shape: tuple[int, ...]) -> Areas:
    """Return lungs and heart at another size (height, width), by the nearest pixel."""
    heart = None if areas.heart is None else _resize(areas.heart, shape)
    return Areas(_resize(areas.lungs, shape), heart, areas.native)


def _resize(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(Image.fromarray(mask).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


@functools.cache  # once a folder: the masks are looked up again and again
def _note_absent(folder: Path) -> None:
    logger.warning(f"data.masks.folders: there is no folder '{folder}'; data.masks.segmenter makes the masks instead")
