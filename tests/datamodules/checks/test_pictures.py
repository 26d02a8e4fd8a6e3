from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from datamodules.checks.files import open_files
from datamodules.checks.pictures import describe_notes, describe_pictures, warn_of_pictures
from experiments.schema import Data
from tests.helpers.dicom_files import dicom_bytes


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    noise = np.random.default_rng(0)
    pixels = {
        "flat.png": np.full((20, 20), 40, np.uint8),
        "few.png": noise.integers(100, 108, (20, 20), np.uint8),
    }
    for name, image in pixels.items():
        Image.fromarray(image).save(tmp_path / name)
    film = noise.integers(600, 3200, (20, 20)).astype(np.uint16)
    (tmp_path / "raw.dcm").write_bytes(dicom_bytes(film, bits=12))
    (tmp_path / "raw2.dcm").write_bytes(dicom_bytes(film[::-1].copy(), bits=12, RescaleSlope=0))
    (tmp_path / "broken.png").write_bytes(b"no image")
    names = ["flat.png", "few.png", "raw.dcm", "raw2.dcm", "broken.png"]
    return pd.DataFrame({"image": [str(tmp_path / name) for name in names], "split": "train"})


def test_looks_and_notes_are_counted(table: pd.DataFrame) -> None:
    files = open_files({"own": table}, None, lambda items, total: items)
    looks = describe_pictures(files)
    assert "own: 1 of 4 images are all one grey: there is nothing to see in them: flat.png" in looks
    assert "own: 1 of 4 images use fewer than 16 of 256 grey levels: few.png" in looks
    assert describe_notes(files) == [
        "own: 2 of 4 files: no window in the file: the full range of what is there is shown (raw.dcm, raw2.dcm)",
        "own: 1 of 4 files: RescaleSlope is 0: passed over (raw2.dcm)",
    ]


def test_a_training_warns_at_its_start(table: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "covidmt"):
        warn_of_pictures({"own": table, "none": table.head(0)}, Data())
    assert any("are all one grey" in line for line in caplog.messages)
    assert any("no window in the file" in line for line in caplog.messages)
