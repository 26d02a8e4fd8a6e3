"""Look-up tables of DICOM files (Modality LUT, VOI LUT, palettes), as devices write them (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataelem import DataElement

from datamodules.formats.dicom_tags import Tags

MODALITY = "Modality LUT"  # whose entries are values, not greys: its depth says nothing
PALETTE = "palette"  # whose three tables have one depth
_DEPTHS = (8, 10, 12, 14, 16)  # bits of entries that devices make


class UnusableTableError(ValueError):
    """A table that cannot be used; the message says why."""


@dataclass(frozen=True)
class LookupTable:
    """A table from whole numbers to entries.

    Attributes:
        first: The number that has the first entry; lower ones have it too, as higher ones have the last.
        entries: (n,) int64, 0 to 65535.
        depth: Bits that the entries use: white is 2**depth - 1.

    Example:
        >>> LookupTable(first=10, entries=np.array([0, 100, 255]), depth=8)(np.array([0, 11, 99])).tolist()
        [0, 100, 255]
    """

    first: int
    entries: np.ndarray
    depth: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return each number's entry; a broken number has the nearest whole one's."""
        places = np.rint(np.asarray(values, np.float64) - self.first).clip(0, len(self.entries) - 1)
        return self.entries[places.astype(np.int64)]

    def greys(self, values: np.ndarray) -> np.ndarray:
        """Return each number's entry as float64 in [0, 1]."""
        return self(values) / (2**self.depth - 1)


def read_table(
    tags: Tags, name: str, low: float, high: float, *, descriptor: str = "LUTDescriptor", data: str = "LUTData"
) -> LookupTable:
    """Read a table; what is odd about it is noted.

    Args:
        tags: The item that holds it.
        name: Of the table, for notes.
        low: The lowest number that is looked up in it; whether its first number is signed shows by that.
        high: The highest.
        descriptor: The tag of its length, first number and depth.
        data: The tag of its entries.

    Raises:
        UnusableTableError: A descriptor that says nothing, or no entries.

    Example:
        >>> from pydicom.dataset import Dataset
        >>> item = Dataset()
        >>> item.LUTDescriptor, item.LUTData = [4, 0, 8], bytes([0, 85, 170, 255])  # packed two a word
        >>> read_table(Tags(item), "VOI LUT", 0, 3).entries.tolist()
        [0, 85, 170, 255]
    """
    numbers = [int(number) for number in tags.numbers(descriptor)]
    element = tags.element(data)
    if len(numbers) != 3:
        raise UnusableTableError("its descriptor does not have three numbers")
    if element is None:
        raise UnusableTableError("it has no entries")

    count, first, declared = numbers[0] % 65536 or 65536, numbers[1], numbers[2]
    little = bool(tags.dataset.original_encoding[1] if tags.dataset.original_encoding[1] is not None else True)
    entries = _read_entries(element, count, declared, little_endian=little)
    if len(entries) < 2:
        raise UnusableTableError("it has no entries")
    if len(entries) < count:
        tags.note(f"{name}: fewer entries than its descriptor says; the last one goes on")
    first = _choose_first(first, len(entries), low, high)
    return LookupTable(
        first, entries, declared if name in (MODALITY, PALETTE) else _choose_depth(entries, declared, tags, name)
    )


def _read_entries(element: DataElement, count: int, bits: int, *, little_endian: bool) -> np.ndarray:
    """Read words, or bytes that were packed two a word; (n,) int64, at most ``count``."""
    if isinstance(element.value, bytes):
        content, order = element.value, "<" if little_endian else ">"
    else:
        words = np.atleast_1d(np.array(element.value)).astype(np.int64)  # signed ones are meant as unsigned
        content, order = (words % 65536).astype("<u2").tobytes(), "<"

    packed = len(content) in (count, count + 1) and count > 1 and (bits <= 8 or isinstance(element.value, bytes))
    if len(content) % 2:
        content += b"\0"
    values = np.frombuffer(content, f"{order}u2")
    if packed:
        values = np.frombuffer(values.astype("<u2").tobytes(), np.uint8)
    return values[:count].astype(np.int64)


def _choose_first(first: int, count: int, low: float, high: float) -> int:
    """Return the first number, signed or not: whichever has more of the table within the numbers that come in."""

    def overlap(start: int) -> float:
        return min(start + count, high) - max(start, low)

    return max((first, first - 65536, first + 65536), key=overlap)


def _choose_depth(entries: np.ndarray, declared: int, tags: Tags, name: str) -> int:
    """Return the entries' bits as declared, unless they need more, or use less than a quarter of the range (Agfa)."""
    largest = int(entries.max())
    needed = next(depth for depth in _DEPTHS if largest < 2**depth)
    if not 1 <= declared <= 16:
        tags.note(f"{name}: the depth that it declares is none; its entries' own was taken")
        return needed
    if largest >= 2**declared:
        tags.note(f"{name}: its entries need more bits than it declares; their own depth was taken")
        return needed
    if needed < declared and largest < 2**declared // 4 and largest > 0:
        tags.note(f"{name}: declares more bits than its entries use; their own depth was taken")
        return needed
    return declared
