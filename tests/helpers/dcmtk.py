"""DCMTK's dcm2pnm, another program's way from a DICOM file to a picture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from datamodules.formats.record import Picture

# Its programs for compressed files; JPEG 2000 it does not read.
_PROGRAMS = {"JPEG-LS": "dcml2pnm", "JPEG 2000": None, "JPEG": "dcmj2pnm"}

# What a file's VOI is, as our record calls it -> the option that makes dcm2pnm use it: by itself it uses none.
_VOI = {"window": ["+Wi", "1"], "VOI LUT": ["+Wl", "1"], "full range": ["+Wm"]}


@pytest.fixture(scope="session")
def dcmtk() -> None:
    """Skips where DCMTK is not installed."""
    if shutil.which("dcm2pnm") is None:
        pytest.skip("dcm2pnm is not installed (apt-get install dcmtk)")


def program(path: Path) -> str | None:
    """DCMTK's program that reads a file; None: JPEG 2000."""
    meta = getattr(pydicom.dcmread(path, force=True, stop_before_pixels=True), "file_meta", None)
    name = pydicom.uid.UID(meta.get("TransferSyntaxUID", "")).name if meta else ""
    return next((program for start, program in _PROGRAMS.items() if name.startswith(start)), "dcm2pnm")


def show_as_dcmtk(path: Path, picture: Picture) -> np.ndarray:
    """DCMTK's grey picture of a file, (H, W) int, with the VOI that ours was shown with.

    Raises:
        ValueError: DCMTK does not read the file.
    """
    steps = picture.record.applied
    voi = next((option for step in steps for name, option in _VOI.items() if step.startswith(name)), [])
    target = path.with_suffix(".dcmtk.pgm")
    command = [program(path) or "dcm2pnm", *voi, "--no-overlays", "--grayscale", "--write-raw-pnm", path, target]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=60)
    if not target.exists():
        raise ValueError(done.stderr)
    with Image.open(target) as shown:
        return np.asarray(shown).astype(int)


def difference(path: Path, picture: Picture) -> float:
    """Mean difference of a picture from DCMTK's, in grey levels."""
    return float(np.abs(picture.pixels - show_as_dcmtk(path, picture)).mean())
