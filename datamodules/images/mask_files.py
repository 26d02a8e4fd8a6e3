"""Lung masks as files: what their grey levels mean, which files are refused, and how computed ones are written."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from datamodules.formats.dicom import is_dicom
from datamodules.formats.files import read_regular
from datamodules.formats.limits import most_bytes
from datamodules.formats.raster import open_raster
from datamodules.images.decode import decode
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.lungs.masks import MaskLevels
from experiments.names import printable
from experiments.schema import MAX_MEGAPIXELS

_LOSSY = ("JPEG", "MPO", "WEBP")
_LUNG, _LUNG_AND_HEART, _HEART = 255, 128, 64  # levels of computed masks
_LUNG_UP_TO_HEART = 254  # of lungs that stop at the heart
_BY_SETTING = "say which levels are lungs (data.masks.levels={lungs: [1, 2], heart: 3})"


class Areas(NamedTuple):
    """What a mask file draws.

    Attributes:
        lungs: (H, W) bool.
        heart: (H, W) bool; None: the file does not say.
        native: ``in``: the lungs hold the part behind the heart; ``out``: they stop at it.
    """

    lungs: np.ndarray
    heart: np.ndarray | None = None
    native: str = "in"


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask file of any image format as (H, W) bool: lung is half of the file's brightest value and above.

    So masks of 0/1 and 0/255 are read alike, and soft edges and the traces of JPEG fall away.

    Raises:
        UserError: A file that cannot be read, or whose meaning is not plain: more than two levels, colours,
            transparency, or a negative.
    """
    grey, is_lossy = _read_grey(path, shown=True)
    levels = _levels(grey, 0.12 if is_lossy else 0.03)
    if len(levels) > 2:
        shown = ", ".join(map(str, levels[:6]))
        raise UserError(f"{path}: a lung mask with several grey levels ({shown}); {_BY_SETTING}")

    mask = grey >= max(int(grey.max()), 1) / 2
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if border.mean() > 0.75:
        raise UserError(
            f"{path}: this lung mask is bright along the image's border, as a negative is; make lungs bright and the "
            "background black"
        )
    return mask


def read_areas(path: str | Path, levels: MaskLevels | None = None) -> Areas:
    """Read a mask file whose grey levels are named by a setting.

    Args:
        path: A mask file without loss (PNG, TIFF, ...).
        levels: Which levels are lungs and heart; null: as :func:`read_mask`.

    Raises:
        UserError: As :func:`read_mask`; or a file that has none of the levels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).save(f"{folder}/a.png")
        ...     areas = read_areas(f"{folder}/a.png", MaskLevels(lungs=[1, 2], heart=3))
        >>> areas.lungs.tolist(), areas.heart.tolist()
        ([[False, True, True, False]], [[False, False, False, True]])
    """
    if levels is None:
        return Areas(read_mask(path))

    grey, is_lossy = _read_grey(path)
    if is_lossy:
        raise UserError(f"{path}: JPEG changes grey levels, so `levels` cannot be read from it; save the mask as PNG")
    lungs = np.isin(grey, levels.lung_levels)
    heart = np.isin(grey, levels.heart_levels) if levels.heart_levels else None
    if not lungs.any() and grey.any():
        present = ", ".join(map(str, np.unique(grey)[:8].tolist()))
        raise UserError(f"{path}: none of its grey levels ({present}) is a lung of data.masks.levels")
    return Areas(lungs, heart)


def _read_grey(path: str | Path, *, shown: bool = False) -> tuple[np.ndarray, bool]:
    """Return the stored levels of a mask (H, W), and whether the format loses some.

    Args:
        path: The file.
        shown: Of a palette of greys the greys; else, and of colours, the indices.
    """
    name = printable(str(path))
    try:
        data = read_regular(path, most_bytes(MAX_MEGAPIXELS))
        if is_dicom(data):
            return decode(data, name), False
        with open_raster(data, f"lung mask {name}", MAX_MEGAPIXELS) as picture:
            upright = ImageOps.exif_transpose(picture)
            if shown and upright.mode == "P" and _is_grey(upright.getpalette()):
                upright = upright.convert("L")
            return _plain_levels(upright, name), picture.format in _LOSSY
    except FileNotFoundError as error:
        raise UserError(f"lung mask {name}: no such image file") from error
    except UserError:
        raise
    except Exception as error:  # the decoders raise nearly everything
        reason = " ".join(str(error).split())
        raise UserError(
            f"lung mask {name}: not a readable image ({reason}); replace it or take it out of the folder"
        ) from error


def _is_grey(palette: list[int] | None) -> bool:
    return bool(palette) and palette[0::3] == palette[1::3] == palette[2::3]


def _plain_levels(picture: Image.Image, path: str) -> np.ndarray:
    if "transparency" in picture.info or "A" in picture.getbands():
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if (alpha < 255).any():
            raise UserError(f"{path}: this lung mask has transparent parts, which could mean anything; save it as grey")
        if picture.mode != "P":
            picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    if picture.mode in ("1", "L", "P") or picture.mode.startswith("I"):
        values = np.asarray(picture)
        return values.astype(np.uint8) if values.dtype == bool else values

    colours = np.asarray(picture.convert("RGB")).astype(np.int16)
    spread = colours.max(axis=-1) - colours.min(axis=-1)
    if spread.max() > 40:
        raise UserError(f"{path}: a lung mask in colours; save it as grey, and {_BY_SETTING} if it has more than two")
    return colours[..., 0].astype(np.uint8)


def _levels(grey: np.ndarray, tolerance: float) -> list[int]:
    """Return the grey levels that fill areas, not edges alone; those closer than a share of the brightest are one."""
    kernel, values = np.ones((3, 3), np.uint8), grey.astype(np.float32)
    is_flat = cv2.dilate(values, kernel) == cv2.erode(values, kernel)
    all_levels, counts = np.unique(grey, return_counts=True)
    flat_levels, flat_counts = np.unique(grey[is_flat], return_counts=True)
    areas = set(all_levels[counts >= 0.05 * grey.size].tolist())
    areas |= set(flat_levels[flat_counts >= max(4, 0.0005 * grey.size)].tolist())

    levels: list[int] = []
    for level in sorted(areas):
        if not levels or level - levels[-1] > tolerance * int(grey.max()):
            levels.append(int(level))
    return levels


def join_masks(paths: Collection[Path], levels: MaskLevels | None = None) -> Areas:
    """Return the union of masks of one image: the left and the right lung.

    Raises:
        UserError: As :func:`read_areas`; masks of different sizes; or several of the same lungs.
    """
    parts = [read_areas(path, levels) for path in paths]
    first = parts[0]
    for path, part in zip(list(paths)[1:], parts[1:], strict=True):
        if part.lungs.shape != first.lungs.shape:
            raise UserError(f"{path}: its size differs from that of the other lung's mask, {next(iter(paths))}")
        smaller = min(int(first.lungs.sum()), int(part.lungs.sum()))
        if smaller and int((first.lungs & part.lungs).sum()) > 0.5 * smaller:
            raise UserError(
                f"{path}: draws the same lungs as the mask of another folder; name one folder, or those "
                "of the left and of the right lung"
            )
        hearts = [areas.heart for areas in (first, part) if areas.heart is not None]
        first = Areas(first.lungs | part.lungs, np.logical_or.reduce(hearts) if hearts else None)
    return first


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
        digest = sha256(read_regular(image)).hexdigest()
    except OSError as error:
        raise UserError(f"{image}: this image cannot be read ({error.strerror})") from error
    return cache / segmenter / f"{digest}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask as a 0/255 PNG, whole or not at all: several processes may fill one cache.

    Raises:
        UserError: The file cannot be written.
    """
    _write(path, mask.astype(np.uint8) * _LUNG)


def write_computed(path: Path, areas: Areas) -> None:
    """Write a segmenter's lungs and heart into a cache, for :func:`read_computed`.

    Raises:
        UserError: The file cannot be written.
    """
    levels = areas.lungs.astype(np.uint8) * (_LUNG if areas.native == "in" else _LUNG_UP_TO_HEART)
    if areas.heart is not None:
        levels[areas.heart] = np.where(areas.lungs[areas.heart], _LUNG_AND_HEART, _HEART)
    _write(path, levels)


def read_computed(path: Path) -> Areas:
    """Read a file of :func:`write_computed` or :func:`write_mask`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_computed(Path(folder, "a.png"), Areas(np.array([[True, True]]), np.array([[False, True]])))
        ...     read_computed(Path(folder, "a.png")).heart.tolist()
        [[False, True]]
    """
    grey, _ = _read_grey(path)
    heart = (grey == _HEART) | (grey == _LUNG_AND_HEART)
    native = "out" if (grey == _LUNG_UP_TO_HEART).any() else "in"
    return Areas(grey >= _LUNG_AND_HEART, heart if heart.any() else None, native)


def _write(path: Path, levels: np.ndarray) -> None:
    try:
        with replace_file(path, shared=True) as new:
            Image.fromarray(levels).save(new, "PNG")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room, or name another folder") from error
