"""What decoding takes at most: a process of its own for each kind of file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGLSLossless

from tests.conftest import REPO
from tests.helpers.dicom_files import dicom_bytes, encoded

SIDE = 2000
MOST = 12  # bytes a pixel, the file counted in

PROGRAM = """
import sys
from pathlib import Path
from datamodules.images.decode import decode

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

decode(sys.argv[1])
before = memory("VmRSS")
decode(sys.argv[2])
print(memory("VmHWM") - before)
"""


def film(side: int, bits: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 2**bits, (side, side), np.uint16)
    return values.astype(np.uint8) if bits == 8 else values


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["8-bit PNG", "16-bit PNG", "JPEG", "DICOM", "JPEG-LS DICOM"])
def test_peak_of_a_film(tmp_path: Path, kind: str) -> None:
    files = []
    for side in (8, SIDE):
        pixels = film(side, 8 if kind in ("8-bit PNG", "JPEG") else 12)
        if "DICOM" in kind:
            options = {"syntax": JPEGLSLossless} if kind.startswith("JPEG") else {}
            data = dicom_bytes(pixels, bits=12, **options)
        else:
            data = encoded(Image.fromarray(pixels), "JPEG" if kind == "JPEG" else "PNG")
        files.append(tmp_path / f"{side}.file")
        files[-1].write_bytes(data)
    done = subprocess.run([sys.executable, "-c", PROGRAM, *files], cwd=REPO, capture_output=True, text=True, check=True)
    assert int(done.stdout) / SIDE**2 <= MOST
