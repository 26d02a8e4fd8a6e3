"""DICOM files written as bytes, of any pixels, compression and tags."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

Encoder = Callable[[np.ndarray, int], bytes]


def _unsigned(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Signed values as a codec gets them: the lowest bits of their two's complement."""
    return pixels.view(f"u{pixels.itemsize}") & np.array(2**bits - 1, f"u{pixels.itemsize}")


def _rle(pixels: np.ndarray, bits: int) -> bytes:
    return get_encoder(RLELossless).encode(
        pixels.tobytes(),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=8 * pixels.itemsize,
        bits_stored=bits,
        pixel_representation=int(pixels.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    )


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


ENCODERS: dict[UID, Encoder] = {
    RLELossless: _rle,
    JPEGLosslessSV1: lambda pixels, bits: imagecodecs.jpeg8_encode(
        _unsigned(pixels, bits), lossless=True, predictor=1, bitspersample=bits
    ),
    JPEGLSLossless: lambda pixels, bits: imagecodecs.jpegls_encode(_unsigned(pixels, bits)),
    JPEG2000Lossless: lambda pixels, bits: imagecodecs.jpeg2k_encode(
        pixels, codecformat="J2K", reversible=True, level=0, bitspersample=bits
    ),
    JPEGBaseline8Bit: lambda pixels, bits: encoded(Image.fromarray(pixels), "JPEG", quality=95),
    JPEGExtended12Bit: lambda pixels, bits: imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=bits),
}


def dicom_bytes(
    pixels: np.ndarray, *, bits: int = 8, syntax: UID = ExplicitVRLittleEndian, frame: bytes | None = None, **tags: Any
) -> bytes:
    """A grey film, (H, W) of integers; a tag of None is left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if syntax.is_encapsulated:
        dataset.PixelData = encapsulate([frame or ENCODERS[syntax](pixels, bits)])
        dataset["PixelData"].VR = "OB"
    else:
        content = pixels.byteswap() if syntax == ExplicitVRBigEndian else pixels
        dataset.add_new(
            "PixelData", "OW" if pixels.itemsize > 1 else "OB", content.tobytes() + b"\0" * (pixels.nbytes % 2)
        )
    for tag, value in tags.items():
        if value is None:
            del dataset[tag]
        else:
            setattr(dataset, tag, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def table_item(
    entries: np.ndarray, first: int = 0, bits: int = 16, *, packed: bool = False, count: int | None = None
) -> Dataset:
    """An item of a Modality LUT or VOI LUT sequence; packed: two entries a word."""
    item = Dataset()
    number = (len(entries) if count is None else count) % 65536
    item.add_new(
        "LUTDescriptor", "US" if first >= 0 else "SS", [number if first >= 0 else (number ^ 32768) - 32768, first, bits]
    )
    content = entries.astype(np.uint8 if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", content + b"\0" * (len(content) % 2))
    return item


SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLosslessSV1)
