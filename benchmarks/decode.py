"""Decoding a film, against pydicom's own functions and numpy; and the memory that it takes.

    python benchmarks/decode.py [--side 4000] [--runs 7] [--kind PART]

A film of ``--side`` x ``--side`` as uncompressed, JPEG and JPEG 2000 DICOM, with a window and without one, each decoded
to 8 bits by `decode` and by ``pixel_array``, ``apply_modality_lut``, ``apply_voi_lut`` and a scale to uint8; and JPEG
and PNG by `decode` and by Pillow. Times are CPU times of this process, one thread.

Memory is the peak (``VmHWM`` of Linux) of a process of its own that decodes one file, less what it had before, when it
had decoded a film of 8 x 8; in bytes for each pixel. What the file itself takes is counted in.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from timing import ratio, rounds

from datamodules.images.decode import decode

WINDOW = {"WindowCenter": "2048", "WindowWidth": "3000", "RescaleSlope": "1", "RescaleIntercept": "0"}


def film(side: int, bits: int) -> np.ndarray:
    """Slow shades with noise."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    shades = 0.5 + 0.3 * np.sin(9 * x) * np.cos(7 * y)
    shades += np.random.default_rng(0).normal(0, 0.01, shades.shape).astype(np.float32)
    return (shades.clip(0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def write_dicom(
    path: Path, pixels: np.ndarray, bits: int, syntax: UID, frame: bytes | None, tags: dict[str, str]
) -> None:
    """Write a film."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([frame]) if frame else pixels.tobytes()
    dataset["PixelData"].VR = "OB" if frame else "OW"
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.save_as(path, enforce_file_format=True)


def write_files(folder: Path, side: int) -> list[Path]:
    """One file of each kind."""
    deep, eight = film(side, 12), film(side, 8)
    j2k = imagecodecs.jpeg2k_encode(deep, codecformat="J2K", reversible=True, level=0, bitspersample=12)
    jpeg = io.BytesIO()
    Image.fromarray(eight).save(jpeg, "JPEG", quality=90)
    kinds: list[tuple[str, np.ndarray, int, UID, bytes | None]] = [
        ("16-bit", deep, 12, ExplicitVRLittleEndian, None),
        ("8-bit", eight, 8, ExplicitVRLittleEndian, None),
        ("JPEG", eight, 8, JPEGBaseline8Bit, jpeg.getvalue()),
        ("JPEG 2000", deep, 12, JPEG2000Lossless, bytes(j2k)),
    ]
    for name, pixels, bits, syntax, frame in kinds:
        tags = WINDOW if bits == 12 else {"WindowCenter": "128", "WindowWidth": "200"}
        write_dicom(folder / f"{name} with a window.dcm", pixels, bits, syntax, frame, tags)
        if bits == 12:
            write_dicom(folder / f"{name} without a window.dcm", pixels, bits, syntax, frame, {})
    Image.fromarray(eight).save(folder / "8-bit.png", compress_level=3)
    Image.fromarray(deep).save(folder / "16-bit.png", compress_level=3)
    (folder / "film.jpg").write_bytes(jpeg.getvalue())
    return sorted(folder.iterdir())


def plain(path: Path) -> np.ndarray:
    """What a script does."""
    if path.suffix != ".dcm":
        values = np.asarray(Image.open(path))
        return values if values.dtype == np.uint8 else _to_8_bits(values, values.min(), values.max())
    dataset = pydicom.dcmread(path)
    stored = pixel_array(dataset)
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    if "WindowWidth" in dataset:
        return _to_8_bits(values, 0, 2**dataset.BitsStored - 1)
    return _to_8_bits(values, values.min(), values.max())


def _to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((values - low) / (high - low) * 255).round().clip(0, 255).astype(np.uint8)


def peak(small: Path, path: Path) -> int:
    """Bytes that a new process takes at most while it decodes a file, after a small one of the same kind."""
    command = [sys.executable, __file__, "--peak", str(small), str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(field: str) -> int:
    """A field of this process's state, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--kind", default="", help="only files with this in their name")
    parser.add_argument("--peak", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        decode(options.peak[0])
        before = memory("VmRSS")
        decode(options.peak[1])
        print(memory("VmHWM") - before)
        sys.exit()

    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as place:
        small, large = Path(place, "small"), Path(place, "large")
        small.mkdir()
        large.mkdir()
        for little, path in zip(write_files(small, 8), write_files(large, options.side), strict=True):
            if options.kind not in path.name:
                continue
            ways: dict[str, Callable[[], object]] = {
                "ours": lambda path=path: decode(path),
                "plain": lambda path=path: plain(path),
            }
            times = rounds(ways, options.runs)
            each = peak(little, path) / options.side**2
            print(f"{path.name}: {ratio(times, 'ours', 'plain')} of the plain way's time; ", end="")
            print(f"{each:.1f} bytes a pixel at the peak", flush=True)
