"""DICOM tags as files have them: missing, empty, broken or misspelt. What cannot be used is noted, not refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite, nan
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

# Where a file with functional groups (the "enhanced" kinds) has its display tags.
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


class Tags:
    """The tags of one file, with notes of those that were passed over.

    Args:
        dataset: The file's tags; of a file of functional groups those of its first frame are read too.

    Attributes:
        notes: A sentence for each tag that could not be used; without the file's own values.

    Example:
        >>> file = Dataset()
        >>> file.WindowWidth, file.PhotometricInterpretation = None, "Monochrome2 "
        >>> tags = Tags(file)
        >>> tags.numbers("WindowWidth"), tags.word("PhotometricInterpretation"), tags.notes
        ([], 'MONOCHROME2', ['WindowWidth is empty: passed over'])
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        """Add a note, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def element(self, keyword: str) -> DataElement | None:
        """Return a tag, or None where it is missing, empty (noted) or cannot be parsed (noted)."""
        tag = tag_for_keyword(keyword)
        for dataset in (self.dataset, *_functional_groups(self.dataset)):
            if tag is None or tag not in dataset:
                continue
            try:
                element = dataset[tag]
                empty = element.value is None or (hasattr(element.value, "__len__") and not len(element.value))
            except Exception:  # pydicom raises what Python raises of the value: ValueError, struct.error, ...
                self.note(f"{keyword} cannot be read: passed over")
                return None
            if not empty:
                return element
            self.note(f"{keyword} is empty: passed over")
        return None

    def numbers(self, keyword: str) -> list[float]:
        """Return a tag's finite numbers; [] where it has none, or one that is no number (noted)."""
        numbers = self.each_number(keyword)
        return numbers if all(map(isfinite, numbers)) else []

    def each_number(self, keyword: str) -> list[float]:
        """Return a tag's numbers; NaN in the place of each that is none (noted)."""
        element = self.element(keyword)
        if element is None:
            return []
        values = element.value
        if isinstance(values, str):
            values = values.split("\\")
        elif isinstance(values, bytes) or not hasattr(values, "__iter__"):
            values = [values]
        numbers = [_finite(value) for value in values]
        if not all(map(isfinite, numbers)):
            self.note(f"{keyword} is no number: passed over")
        return numbers

    def number(self, keyword: str) -> float | None:
        """Return a tag's first number, or None."""
        return next(iter(self.numbers(keyword)), None)

    def whole(self, keyword: str, fits: Callable[[int], bool], default: int) -> int:
        """Return a tag's whole number; the default, with a note, where it is missing or does not fit."""
        value = self.number(keyword)
        if value is not None and value == int(value) and fits(int(value)):
            return int(value)
        reason = "is missing" if value is None and keyword not in self.dataset else "does not fit"
        self.note(f"{keyword} {reason}: taken as its usual value")
        return default

    def word(self, keyword: str) -> str:
        """Return a tag's word in capitals and without blanks, "" where it has none."""
        element = self.element(keyword)
        if element is None:
            return ""
        value = element.value if isinstance(element.value, str) else str(next(iter(element.value), ""))
        return "".join(value.replace("\0", " ").split()).upper()

    def items(self, keyword: str) -> list[Dataset]:
        """Return a sequence's items; [] where it has none."""
        element = self.element(keyword)
        return [*element.value] if element is not None and element.VR == "SQ" else []


def _finite(value: Any) -> float:
    """Return a value as a number, NaN where it is none or infinite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return nan
    return number if isfinite(number) else nan


def _functional_groups(dataset: Dataset) -> Iterator[Dataset]:
    for groups in _GROUPS:
        for macro in _MACROS:
            group: Any = dataset.get(groups)
            items = group[0].get(macro) if group else None
            if items:
                yield items[0]


def starts_like_dicom(data: bytes) -> bool:
    r"""Return whether data without DICOM's preamble begin with a tag of the groups that stand first in a file.

    Example:
        >>> starts_like_dicom(b"\x08\0\x05\0CS\x0a\0ISO_IR 100"), starts_like_dicom(b"<html>")
        (True, False)
    """
    little = data[:2] in (b"\x02\0", b"\x08\0")
    if not (little or data[:2] == b"\0\x08"):
        return False
    order = "little" if little else "big"
    group, element = (int.from_bytes(data[start : start + 2], order) for start in (0, 2))
    return bool(keyword_for_tag(Tag(group, element)))
