"""DICOM files: parsed and decompressed, then shown by `display` (grey) or by their brightness (colours)."""

from __future__ import annotations

import io
import zlib
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from datamodules.formats.dicom_codecs import Frame, FrameShape, decompress
from datamodules.formats.dicom_tags import Tags, starts_like_dicom
from datamodules.formats.display import FINISHED_BITS, StoredValues, show
from datamodules.formats.limits import most_bytes, require_size
from datamodules.formats.lookup import PALETTE, UnusableTableError, read_table
from datamodules.formats.record import DisplayRecord, Picture
from datamodules.formats.value_range import count_words, look_up, robust_range, scale_to_range, to_uint8
from experiments.errors import UserError

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GREY, _BRIGHTNESS_FIRST, _RGB = (
    ("MONOCHROME1", "MONOCHROME2"),
    ("YBR_FULL", "YBR_FULL_422"),
    ("RGB", "YBR_ICT", "YBR_RCT"),
)
_PARTIAL = ("YBR_PARTIAL_422", "YBR_PARTIAL_420")


def is_dicom(data: bytes) -> bool:
    """Return whether data are a DICOM file, with its preamble or without.

    Example:
        >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"GIF89a")
        (True, False)
    """
    return data[128:132] == b"DICM" or starts_like_dicom(data)


def decode_dicom(data: bytes, name: str, megapixels: float) -> Picture:
    """Decode a DICOM file of one frame.

    Args:
        data: The file's bytes.
        name: What messages call it.
        megapixels: At most so many million pixels, see `limits`.

    Raises:
        UserError: No picture in it, several frames, too many pixels, or a kind that is not read.
        Exception: As pydicom and the codecs raise them, where the file is broken.
    """
    dataset = _parse(data, name, megapixels)
    tags = Tags(dataset)
    layout = _read_layout(tags, name, megapixels)
    frame = _read_frame(tags, layout)
    if layout.photometric in _GREY:
        pixels, applied = _show_grey(frame, layout, tags)
    elif layout.photometric == "PALETTECOLOR":
        pixels, applied = _show_palette(frame, layout, tags, name)
    else:
        pixels, applied = _show_colours(frame, layout, tags)
    return Picture(pixels, DisplayRecord("DICOM", tuple(applied), tuple(tags.notes)))


class _Layout(NamedTuple):
    """How a file's pixels are stored: its tags, the broken ones put right."""

    rows: int
    columns: int
    samples: int
    photometric: str  # in capitals, without blanks
    allocated: int
    bits: int
    high_bit: int
    signed: bool
    keyword: str  # of the pixels


def _parse(data: bytes, name: str, megapixels: float) -> Dataset:
    """Parse a file; a deflated one is not inflated beyond what a picture can have."""
    preamble = 132 if data[128:132] == b"DICM" else 0
    if _transfer_syntax(data[preamble : preamble + 4096]) != DeflatedExplicitVRLittleEndian:
        return pydicom.dcmread(io.BytesIO(data), force=not preamble)

    # group 2 is not deflated; its first tag says how long it is
    end = preamble + 12 + int.from_bytes(data[preamble + 8 : preamble + 12], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[end:], most_bytes(megapixels))
    if not inflater.eof:
        raise UserError(f"{name}: inflates to more than a picture within data.max_megapixels has, or is cut short")
    dataset = read_dataset(io.BytesIO(inflated), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = pydicom.dcmread(io.BytesIO(data[:end]), force=True).file_meta
    return dataset


def _transfer_syntax(meta: bytes) -> str:
    """Return the transfer syntax of a file's first bytes, "" where it is not there."""
    place = meta.find(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(meta[place + 6 : place + 8], "little")
    return meta[place + 8 : place + 8 + length].rstrip(b"\0 ").decode("ascii", "replace") if place >= 0 else ""


def _read_layout(tags: Tags, name: str, megapixels: float) -> _Layout:
    dataset = tags.dataset
    keyword = next((keyword for keyword in _PIXELS if keyword in dataset), None)
    if keyword is None or "Rows" not in dataset or "Columns" not in dataset:
        kind = getattr(dataset.get("SOPClassUID"), "name", "") or "no pixels, or cut short"
        raise UserError(f"{name}: a DICOM file without a picture ({kind}); take it out of the list")

    # the size, before anything of the picture is looked at
    rows, columns = (int(tags.number(side) or 0) for side in ("Rows", "Columns"))
    frames = int(tags.number("NumberOfFrames") or 1)
    require_size(columns, rows, megapixels, name, max(frames, 1))
    if frames > 1:
        raise UserError(f"{name}: holds several frames; export the one to use")

    # what a value is
    samples = _read_samples(tags)
    photometric = _read_photometric(tags, samples, name)
    usual = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword)
    allocated = usual or tags.whole("BitsAllocated", lambda bits: bits in (1, 8, 16, 32, 64), 0)
    if not allocated:
        raise UserError(f"{name}: values of {dataset.get('BitsAllocated')} bits are not read; export it with 16 bits")
    bits = usual or tags.whole("BitsStored", lambda bits: 1 <= bits <= allocated, allocated)
    high_bit = usual or tags.whole("HighBit", lambda bit: bits - 1 <= bit < allocated, bits - 1)
    signed = not usual and tags.whole("PixelRepresentation", lambda sign: sign in (0, 1), 0) == 1
    return _Layout(rows, columns, samples, photometric, allocated, bits, high_bit, signed, keyword)


def _read_samples(tags: Tags) -> int:
    colours = not tags.word("PhotometricInterpretation").startswith(("MONO", "PALETTE")) and bool(
        tags.word("PhotometricInterpretation")
    )
    return tags.whole("SamplesPerPixel", lambda samples: samples in (1, 3), 3 if colours else 1)


def _read_photometric(tags: Tags, samples: int, name: str) -> str:
    """Return the photometric interpretation, its spelling put right."""
    word = tags.word("PhotometricInterpretation")
    letters = word.replace("_", "").replace("-", "")
    by_letters = {known.replace("_", ""): known for known in (*_GREY, *_BRIGHTNESS_FIRST, *_RGB, *_PARTIAL)}
    known = "PALETTECOLOR" if letters.startswith("PALETTE") else by_letters.get(letters)
    if known is None and samples == 1 and (not word or word.startswith("MONO")):
        known = "MONOCHROME1" if word.endswith("1") else "MONOCHROME2"
    if known is None and samples == 3 and not word:
        known = "RGB"
    if known is None or (known in _GREY or known == "PALETTECOLOR") != (samples == 1):
        raise UserError(
            f"{name}: photometric interpretation {word[:20] or 'missing'} with {samples} values a pixel is not read; "
            "export it as grey"
        )
    stored = tags.dataset.get("PhotometricInterpretation")
    if (stored or "").strip(" \0").replace("PALETTE COLOR", "PALETTECOLOR") != known:
        tags.note("PhotometricInterpretation is missing or misspelt: taken as its usual value")
    return known


def _read_frame(tags: Tags, layout: _Layout) -> Frame:
    """Return the frame's words; (H, W) or (H, W, samples)."""
    dataset, element = tags.dataset, tags.dataset[layout.keyword]
    meta = getattr(dataset, "file_meta", None)
    syntax = UID(str(meta.get("TransferSyntaxUID", "") if meta else ""))
    if not isinstance(element.value, bytes) or not element.value:
        raise ValueError("its pixels are empty")

    encapsulated = element.is_undefined_length or (syntax.is_transfer_syntax and syntax.is_encapsulated)
    if encapsulated:
        shape = FrameShape(
            layout.rows, layout.columns, layout.samples, max(layout.allocated, 8), rgb=layout.photometric in _RGB
        )
        return decompress(get_frame(element.value, 0, number_of_frames=1), syntax, shape)
    big = syntax == ExplicitVRBigEndian or (not syntax and dataset.original_encoding[1] is False)
    return _read_native(element.value, element.VR, tags, layout, big_endian=big)


def _read_native(content: bytes, vr: str, tags: Tags, layout: _Layout, *, big_endian: bool) -> Frame:
    """Return uncompressed words."""
    count = layout.rows * layout.columns * layout.samples
    half = layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and layout.samples == 3
    if half:  # two pixels have two brightnesses and one colour
        count = layout.rows * layout.columns * 2
    needed = -(-count * layout.allocated // 8)
    if len(content) < needed:
        raise ValueError(f"its pixels are cut short: {len(content)} of {needed} bytes")
    if len(content) >= 2 * needed:
        tags.note("more pixels than its size says: the first frame is shown")

    if big_endian and layout.allocated <= 8 and vr == "OW":  # bytes, two a word
        content = np.frombuffer(content[: len(content) // 2 * 2], ">u2").astype("<u2").tobytes()
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(content, np.uint8, needed), bitorder="little")
        return Frame(bits[:count].reshape(layout.rows, layout.columns))
    kind = "u" if layout.keyword == "PixelData" else "f"
    order = ">" if big_endian else "<"
    words = np.frombuffer(content, f"{order}{kind}{layout.allocated // 8}", count)

    if half:
        pairs = words.reshape(layout.rows, -1, 4)[:, :, :2]
        return Frame(pairs.reshape(layout.rows, layout.columns), luma=True)
    if layout.samples == 1:
        return Frame(words.reshape(layout.rows, layout.columns))
    if tags.number("PlanarConfiguration") == 1:
        return Frame(np.moveaxis(words.reshape(layout.samples, layout.rows, layout.columns), 0, -1))
    return Frame(words.reshape(layout.rows, layout.columns, layout.samples))


def _extract(words: np.ndarray, layout: _Layout, codec_bits: int | None) -> np.ndarray:
    """Take the stored values out of words, without what lies beside them (overlays); int64.

    Args:
        words: Unsigned.
        layout: Where in a word a value lies.
        codec_bits: As :class:`Frame` has them: where they are fewer than the tags say, they are the whole value.
    """
    bits, shift = _value_bits(layout, codec_bits), layout.high_bit - layout.bits + 1
    if codec_bits is not None and codec_bits <= layout.high_bit:
        shift = 0
    values = (words.astype(np.uint64) >> np.uint64(shift)).astype(np.int64) & (2 ** min(bits, 62) - 1)
    return np.where(values >= 2 ** (bits - 1), values - 2**bits, values) if layout.signed else values


def _value_bits(layout: _Layout, codec_bits: int | None) -> int:
    return layout.bits if codec_bits is None else min(layout.bits, codec_bits)


def _show_grey(frame: Frame, layout: _Layout, tags: Tags) -> tuple[np.ndarray, list[str]]:
    low_is_white = layout.photometric == "MONOCHROME1"
    if frame.words.dtype.kind == "f":
        bits, lowest, highest = None, 0.0, 1.0
    else:
        bits = _value_bits(layout, frame.bits)
        lowest = -(2.0 ** (bits - 1)) if layout.signed else 0.0
        highest = lowest + 2.0**bits - 1

    # each word that a pixel can have; of more than 16 bits each that one has
    places = None
    if frame.words.itemsize <= 2:
        counts = count_words(frame.words)
        words = np.arange(len(counts), dtype=frame.words.dtype.newbyteorder("="))
    else:
        words, places, counts = np.unique(frame.words, return_inverse=True, return_counts=True)
    values = words if bits is None else _extract(words, layout, frame.bits)

    stored = StoredValues(values.astype(np.float64), counts, words, bits, lowest, highest)
    greys, applied = show(stored, tags, low_is_white=low_is_white)
    if places is None:
        return look_up(frame.words, greys), applied
    return to_uint8(greys)[places.reshape(frame.words.shape)], applied


def _show_palette(frame: Frame, layout: _Layout, tags: Tags, name: str) -> tuple[np.ndarray, list[str]]:
    if frame.words.itemsize > 2:
        raise UserError(f"{name}: a palette of more than 16 bits is not read; export it as grey")
    values = _extract(np.arange(2 ** (8 * frame.words.itemsize)), layout, frame.bits)
    if "SegmentedRedPaletteColorLookupTableData" in tags.dataset:
        colours = apply_color_lut(values.astype(np.uint16), tags.dataset)
        return look_up(frame.words, colours @ LUMA / np.iinfo(colours.dtype).max), ["palette"]

    tables = []
    for colour in ("Red", "Green", "Blue"):
        start = f"{colour}PaletteColorLookupTable"
        try:
            tables.append(
                read_table(
                    tags, PALETTE, values.min(), values.max(), descriptor=f"{start}Descriptor", data=f"{start}Data"
                )
            )
        except UnusableTableError as error:
            raise UserError(f"{name}: its palette cannot be used ({error}); export it as grey") from error

    # one depth for all three, or their mixture changes: 8 bits or 16, whatever they declare
    white = 255 if max(table.entries.max() for table in tables) < 256 else 65535
    if white < 2 ** tables[0].depth - 1:
        tags.note("palette: declares more bits than its entries use; their own depth was taken")
    luma = sum(share * table(values) for share, table in zip(LUMA, tables, strict=True))
    return look_up(frame.words, np.asarray(luma) / white), ["palette"]


def _show_colours(frame: Frame, layout: _Layout, tags: Tags) -> tuple[np.ndarray, list[str]]:
    """Show the brightness of colours; of more than 8 bits in the full range of what is there."""
    bits = _value_bits(layout, frame.bits)
    unsigned = layout._replace(signed=False)
    grey = frame.luma or layout.photometric in (*_BRIGHTNESS_FIRST, *_PARTIAL)
    samples = frame.words if frame.words.ndim == 3 else frame.words[..., np.newaxis]
    luma = np.zeros(samples.shape[:2], np.float32)
    for sample, share in enumerate([1.0] if grey else LUMA):
        luma += np.float32(share / (2**bits - 1)) * _extract(samples[..., sample], unsigned, frame.bits)

    applied = ["brightness of the colours"]
    if layout.photometric in _PARTIAL:
        luma = scale_to_range(luma, 16 / 255, 235 / 255)
    if bits <= FINISHED_BITS:
        return to_uint8(luma), applied
    words = (luma * 65535).round().astype(np.uint16)
    counts = count_words(words)
    values = np.arange(len(counts))
    return look_up(words, scale_to_range(values, *robust_range(values, counts))), [*applied, "full range"]
