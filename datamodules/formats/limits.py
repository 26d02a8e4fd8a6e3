"""How large a picture may be: looked at in its header, before anything is decoded."""

from __future__ import annotations

from experiments.errors import UserError

BYTES_EACH = 8  # at most so many bytes has a pixel in a file: 64-bit grey, or 16-bit colours with opacity


def require_size(columns: int, rows: int, megapixels: float, name: str, frames: int = 1) -> None:
    """Refuse a picture without pixels, or with too many.

    Args:
        columns: Width, in pixels.
        rows: Height, in pixels.
        megapixels: At most so many million pixels, all frames together.
        name: What the message calls the file.
        frames: How many pictures the file holds.

    Raises:
        UserError: With the size, and the setting.

    Example:
        >>> require_size(100_000, 100_000, 200, "film.png")
        Traceback (most recent call last):
        experiments.errors.UserError: film.png: 100000 x 100000 pixels are more than the 200 million that are read; ...
    """
    if columns <= 0 or rows <= 0:
        raise UserError(f"{name}: holds no picture ({columns} x {rows} pixels); take it out of the list")
    if columns * rows * frames > megapixels * 1e6:
        several = f" in {frames} frames" if frames > 1 else ""
        raise UserError(
            f"{name}: {columns} x {rows} pixels{several} are more than the {megapixels:g} million that are read; "
            "make it smaller, raise data.max_megapixels, or take it out of the list"
        )


def most_bytes(megapixels: float) -> int:
    """Return how many bytes a file, or what it inflates to, may have: a picture's at most, and 64 MB beside it."""
    return int(megapixels * 1e6) * BYTES_EACH + 2**26
