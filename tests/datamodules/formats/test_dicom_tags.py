import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from datamodules.formats.dicom_tags import Tags, starts_like_dicom


def broken(keyword_tag: int, vr: str, value: bytes) -> Dataset:
    dataset = Dataset()
    tag = Tag(keyword_tag)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return dataset


@pytest.mark.parametrize("value", [b"abc ", b"1,5 ", b"nan ", b"1\\inf ", b"--", b"\xff\xfe"])
def test_what_is_no_number_is_noted(value: bytes) -> None:
    tags = Tags(broken(0x00281051, "DS", value))
    assert tags.numbers("WindowWidth") == []
    assert len(tags.notes) == 1
    assert tags.notes[0].startswith("WindowWidth")


def test_missing_empty_several() -> None:
    dataset = Dataset()
    dataset.WindowWidth, dataset.WindowCenter = "", [1, 2.5]
    tags = Tags(dataset)
    assert (tags.number("RescaleSlope"), tags.notes) == (None, [])
    assert (tags.number("WindowWidth"), tags.notes) == (None, ["WindowWidth is empty: passed over"])
    assert tags.numbers("WindowCenter") == [1, 2.5]
    assert tags.whole("HighBit", lambda bit: bit > 0, 7) == 7
    assert tags.notes[-1] == "HighBit is missing: taken as its usual value"


def test_functional_groups() -> None:
    window, group = Dataset(), Dataset()
    window.WindowCenter = 40
    group.FrameVOILUTSequence = Sequence([window])
    dataset = Dataset()
    dataset.PerFrameFunctionalGroupsSequence = Sequence([group])
    assert Tags(dataset).number("WindowCenter") == 40


def test_words_and_items() -> None:
    dataset = Dataset()
    dataset.VOILUTFunction, dataset.VOILUTSequence = "sigmoid ", Sequence([])
    tags = Tags(dataset)
    assert tags.word("VOILUTFunction") == "SIGMOID"
    assert (tags.items("VOILUTSequence"), tags.notes) == ([], ["VOILUTSequence is empty: passed over"])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x02\0\0\0UL", True),
        (b"\x08\0\x08\0CS", True),
        (b"\0\x08\0\x05CS", True),
        (b"\x08\0\xfe\xff", False),
        (b"", False),
    ],
)
def test_beginnings(data: bytes, expected: bool) -> None:
    assert starts_like_dicom(data) is expected
