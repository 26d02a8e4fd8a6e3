"""The manifest beside made pairs: a CSV with a row a pair, its files, their sizes and digests."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from datamodules.images.decode import decode
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.names import harmless_cell, restore_cell


@dataclass(frozen=True)
class ManifestRow:
    """A pair of files, named below OUT; ``compression`` is original bytes over received bytes."""

    original: str
    received: str
    original_bytes: int
    received_bytes: int
    compression: float
    original_width: int
    original_height: int
    received_width: int
    received_height: int
    original_sha256: str
    received_sha256: str


COLUMNS = [column.name for column in fields(ManifestRow)]
_TYPES: dict[str, Callable[[str], Any]] = {"str": restore_cell, "int": int, "float": float}


def describe_pair(out: Path, original: Path, received: Path) -> ManifestRow:
    """Return the manifest's row of two files below ``out``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     out = Path(folder)
        ...     for name, width in (("sent.png", 80), ("got.png", 40)):
        ...         Image.new("L", (width, 30)).save(out / name)
        ...     row = describe_pair(out, out / "sent.png", out / "got.png")
        >>> row.original, row.original_width, row.received_width
        ('sent.png', 80, 40)
    """
    sent, got = original.read_bytes(), received.read_bytes()
    sent_size, got_size = _image_size(original), _image_size(received)
    return ManifestRow(
        original=original.relative_to(out).as_posix(),
        received=received.relative_to(out).as_posix(),
        original_bytes=len(sent),
        received_bytes=len(got),
        compression=round(len(sent) / len(got), 3),
        original_width=sent_size[0],
        original_height=sent_size[1],
        received_width=got_size[0],
        received_height=got_size[1],
        original_sha256=sha256(sent).hexdigest(),
        received_sha256=sha256(got).hexdigest(),
    )


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:  # the header alone
            return picture.size
    except OSError:  # DICOM
        height, width = decode(path).shape
        return width, height


def read_manifest(path: Path) -> dict[str, ManifestRow]:
    """Return the rows that are whole, by original; an interrupted run leaves others, which are ignored."""
    if not path.is_file():
        return {}

    rows = {}
    types = [_TYPES[str(column.type)] for column in fields(ManifestRow)]
    text = path.read_bytes().decode("utf-8", "replace").replace("\0", "")
    for cells in csv.reader(io.StringIO(text, newline="")):  # a file's name may have line breaks
        try:
            row = ManifestRow(*(convert(cell) for convert, cell in zip(types, cells, strict=True)))
        except ValueError:
            continue
        if len(row.original_sha256) == len(row.received_sha256) == 64:
            rows[row.original] = row
    return rows


def csv_cells(row: ManifestRow) -> list[str]:
    """Return a row's cells as they are written; no name in them is a formula."""
    return [harmless_cell(str(value)) for value in astuple(row)]


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the manifest, whole or not at all.

    Raises:
        UserError: The file cannot be written, as on a full disk.
    """
    try:
        with replace_file(path) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *map(csv_cells, rows)])
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room, then start again") from error
