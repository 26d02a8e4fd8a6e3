"""A measured channel: `covidmt pairs compare --out FILE` writes it, and ``fitted:FILE`` sends images through it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from datamodules.channels.chance import content_generator
from datamodules.channels.encodings import SUBSAMPLINGS, fit_inside, jpeg, shrink, webp
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.paths import expand

FORMAT = "covidmt route 1"


@dataclass(frozen=True)
class SentFile:
    """What became of one file on a measured route.

    Attributes:
        encoding: ``jpeg``, ``webp`` or ``png``.
        side: Longest side to which it was scaled down, in pixels; None: it kept its size.
        quality: 1-100; None for PNG.
        subsampling: Of a JPEG's chroma.
    """

    encoding: str
    side: int | None
    quality: int | None
    subsampling: str = "4:2:0"

    def send(self, image: np.ndarray) -> bytes:
        """Do the same to an image.

        Args:
            image: (H, W) uint8 at its full size.
        """
        side = self.side or max(image.shape)
        if self.encoding == "png" or self.quality is None:
            return shrink(image, side)
        small = fit_inside(image, side, side)
        return webp(small, self.quality) if self.encoding == "webp" else jpeg(small, self.quality, self.subsampling)


def write_route(path: Path, files: Sequence[SentFile]) -> None:
    """Write what became of each file of a route.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        with replace_file(path) as new:
            new.write_text(json.dumps({"format": FORMAT, "files": [asdict(file) for file in files]}, indent=1))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another place") from error


def read_route(name: str, key: str) -> tuple[SentFile, ...]:
    """Read a measured route.

    Args:
        name: The file.
        key: The setting that named it, for messages.

    Raises:
        UserError: No such file, or none of `covidmt pairs compare --out`.
    """
    path = expand(name)
    if not path.is_file():
        raise UserError(f"{key}: fitted: no file {name!r}; `covidmt pairs compare --out` writes one")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(SentFile(**file) for file in content["files"]) if content["format"] == FORMAT else ()
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        files = ()
    if not files or not all(map(_is_sound, files)):
        raise UserError(f"{key}: {name} was not written by `covidmt pairs compare --out`; measure the route again")
    return files


def send_fitted(image: np.ndarray, route: Sequence[SentFile], seed: int = 0) -> bytes:
    """Send an image as one of the route's files was sent: which one is drawn by the image's content.

    So the same image is always received alike, and many images as the files of the route were, in side and quality.

    Args:
        image: (H, W) uint8.
        route: From :func:`read_route`.
        seed: Which draw.

    Example:
        >>> film = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
        >>> send_fitted(film, [SentFile("jpeg", 40, 92)]) == SentFile("jpeg", 40, 92).send(film)
        True
    """
    return route[int(content_generator(image, seed).integers(len(route)))].send(image)


def _is_sound(file: SentFile) -> bool:
    side, quality = file.side, file.quality
    return (
        file.encoding in ("jpeg", "webp", "png")
        and (side is None or (isinstance(side, int) and side >= 1))
        and (quality is None if file.encoding == "png" else isinstance(quality, int) and 1 <= quality <= 100)
        and file.subsampling in SUBSAMPLINGS
    )
