"""A decoded picture, and the record of how it came from its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class DisplayRecord:
    """How a picture came from its file. The sentences hold no values of the file, so that those of many files add up.

    Attributes:
        format: ``DICOM``, ``PNG``, ``JPEG``, ...
        applied: What was done to the stored values, in order.
        notes: What was passed over or is unusual in the file, each with the reason.

    Example:
        >>> DisplayRecord("DICOM", ("window (LINEAR)", "inverted (MONOCHROME1)")).applied[0]
        'window (LINEAR)'
    """

    format: str
    applied: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A picture as it is shown.

    Attributes:
        pixels: (H, W) uint8, upright, black is 0.
        record: What was applied, what was passed over and why.
    """

    pixels: np.ndarray
    record: DisplayRecord
