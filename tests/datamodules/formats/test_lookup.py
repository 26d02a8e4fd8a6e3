import numpy as np
import pytest
from pydicom.dataset import Dataset

from datamodules.formats.dicom_tags import Tags
from datamodules.formats.lookup import LookupTable, UnusableTableError, read_table
from tests.helpers.dicom_files import table_item


def read(item: Dataset, low: float = 0, high: float = 255) -> tuple[LookupTable, list[str]]:
    tags = Tags(item)
    return read_table(tags, "VOI LUT", low, high), tags.notes


RAMP = np.arange(256)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [256, 255])
def test_entries_of_8_bits_in_words_or_packed(packed: bool, count: int) -> None:
    table, notes = read(table_item(RAMP[:count], bits=8, packed=packed))
    assert table.entries.tolist() == RAMP[:count].tolist()
    assert table.depth == 8
    assert notes == []


def test_entries_as_numbers() -> None:
    item = table_item(RAMP, bits=8)
    item.add_new("LUTData", "US", [int(entry) for entry in RAMP])
    assert read(item)[0].entries.tolist() == RAMP.tolist()
    words = np.frombuffer(RAMP.astype(np.uint8).tobytes(), "<u2")
    item.add_new("LUTData", "US", [int(word) for word in words])
    assert read(item)[0].entries.tolist() == RAMP.tolist()


@pytest.mark.parametrize(
    ("largest", "declared", "depth", "noted"),
    [
        (65535, 16, 16, ""),
        (40000, 16, 16, ""),
        (4095, 12, 12, ""),
        (4095, 16, 12, "declares more bits"),  # Agfa
        (1023, 16, 10, "declares more bits"),
        (255, 16, 8, "declares more bits"),
        (4095, 8, 12, "need more bits"),
        (4095, 0, 12, "is none"),
        (255, 200, 8, "is none"),
    ],
)
def test_depth(largest: int, declared: int, depth: int, noted: str) -> None:
    table, notes = read(table_item((RAMP / 255 * largest).astype(int), bits=declared))
    assert table.depth == depth
    assert noted in " ".join(notes)
    assert bool(notes) == bool(noted)


def test_first_number_with_and_without_its_sign() -> None:
    assert read(table_item(RAMP, -128, 8), -128, 127)[0].first == -128
    item = table_item(RAMP, 0, 8)
    item.LUTDescriptor = [256, 65536 - 128, 8]  # signed, written as unsigned
    assert read(item, -128, 127)[0].first == -128
    assert read(item, 65000, 65535)[0].first == 65408
    assert read(table_item(np.arange(65536)), 0, 65535)[0](np.array([65535])).tolist() == [65535]


def test_numbers_outside_have_the_nearest_entry() -> None:
    table, notes = read(table_item(RAMP[:100] + 100, 10, 8, count=120))
    assert table(np.array([-5, 10, 500])).tolist() == [100, 100, 199]
    assert "fewer entries" in notes[0]


@pytest.mark.parametrize("descriptor", [None, [256, 0]])
def test_without_descriptor(descriptor: list[int] | None) -> None:
    item = table_item(RAMP)
    item.LUTDescriptor = descriptor
    with pytest.raises(UnusableTableError, match="three numbers"):
        read(item)


def test_without_entries() -> None:
    item = table_item(RAMP)
    item.LUTData = b""
    with pytest.raises(UnusableTableError, match="no entries"):
        read(item)
