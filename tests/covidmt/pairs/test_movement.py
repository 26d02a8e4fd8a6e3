import cv2
import numpy as np
import pytest

from covidmt.pairs.movement import measure_movement
from datamodules.channels.encodings import jpeg
from datamodules.images.decode import decode


@pytest.fixture(scope="module")
def film():
    grey = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (240, 320)), (0, 0), 12) * 700 + 120
    return grey.clip(20, 220).astype(np.uint8)


@pytest.mark.parametrize(
    ("turn", "change"),
    [
        ("", lambda film: film),
        ("", lambda film: decode(jpeg(film, 30))),
        ("", lambda film: cv2.resize(film, (160, 120), interpolation=cv2.INTER_AREA)),
        ("turned by 90", np.rot90),
        ("turned by 180", lambda film: np.rot90(film, 2)),
        ("turned by 270", lambda film: np.rot90(film, 3)),
        ("mirrored", lambda film: film[:, ::-1]),
        ("mirrored turned by 90", lambda film: np.rot90(film[:, ::-1])),
    ],
)
def test_turns(film, turn, change):
    movement = measure_movement(film, change(film))
    assert movement.turn == turn
    assert movement.describe() == turn
    assert movement.crop < 0.01
    assert abs(movement.shift) < 0.5
    assert movement.alike > 0.99


def test_crops_tilts_and_brighter_films(film):
    cropped = measure_movement(film, film[12:-12, 16:-16])  # 0.9 by 0.9 of it
    assert cropped.crop == pytest.approx(0.19, abs=0.02)
    assert cropped.describe() == f"{100 * cropped.crop:.0f} % cropped"
    tilted = cv2.warpAffine(
        film, cv2.getRotationMatrix2D((160, 120), 3, 1), (320, 240), borderMode=cv2.BORDER_REPLICATE
    )
    assert abs(measure_movement(film, tilted).angle) == pytest.approx(3, abs=0.6)
    brighter = measure_movement(film, film + np.uint8(9))
    assert brighter.shift == pytest.approx(9, abs=0.1)
    assert brighter.describe() == ""


def test_another_film_and_an_empty_one(film):
    other = np.random.default_rng(1).integers(0, 256, (240, 320)).astype(np.uint8)
    assert measure_movement(film, other).describe().startswith("another image (correlation ")
    assert measure_movement(film, np.zeros_like(film)).describe().startswith("another image")
