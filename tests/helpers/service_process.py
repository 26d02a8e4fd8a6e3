"""``covidmt serve`` as a process of its own, on a small untrained network."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from tests.helpers.mlflow_server import wait_until_answers


class Service:
    """A running service.

    Attributes:
        address: Without a slash at its end.
        process: Its process.
        folder: Where it was started; nothing else writes there.
    """

    def __init__(self, address: str, process: subprocess.Popen, folder: Path) -> None:
        self.address, self.process, self.folder = address, process, folder

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@contextmanager
def serving(
    checkpoint: Path, folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Generator[Service]:
    """Start it in an empty folder; kill it in the end if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "covidmt",
        "serve",
        str(checkpoint),
        "--port",
        "0",
        "--segmenter",
        "none",
        *options,
    ]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder / "tmp"), **(environment or {})}
    with (folder.parent / f"{folder.name}.err").open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://\S+?)/ ", line)
        assert found, (line, (folder.parent / f"{folder.name}.err").read_text())
        address = found[1].replace("0.0.0.0", "127.0.0.1")
        wait_until_answers(f"{address}/healthz", process)
        yield Service(address, process, folder)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def film(seed: int = 0, size: int = 96) -> bytes:
    """A PNG of smooth noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((size, size)).save(file, "PNG")
    return file.getvalue()


def scan(secret: str) -> bytes:
    """A DICOM film whose header holds a secret in every way that a header can."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.SOPClassUID, dataset.SOPInstanceUID = dataset.file_meta[0x00020002].value, pydicom.uid.generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.InstitutionName = f"{secret}^NAME", f"{secret}-ID", secret
    dataset.WindowCenterWidthExplanation, dataset.SeriesDescription = secret, secret
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 64, 80, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.random.default_rng(0).integers(0, 256, (64, 80), dtype=np.uint8).tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
