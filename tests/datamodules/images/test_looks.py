from pathlib import Path

import numpy as np
import pytest

from datamodules.images.decode import decode, resize
from datamodules.images.looks import (
    ENOUGH_FILMS,
    FEW,
    FLAT,
    NEGATIVE,
    TURNED,
    describe_look,
    describe_looks,
    drawn_chest,
    look_at,
)


def films(count: int) -> list[np.ndarray]:
    """Drawn chests with noise, of other contrasts."""
    rng = np.random.default_rng(0)
    chest = np.kron(drawn_chest().chest, np.ones((4, 4)))
    return [
        (110 + 40 * chest * rng.uniform(0.5, 1.2) + rng.normal(0, 12, chest.shape)).clip(0, 255).astype(np.uint8)
        for _ in range(count)
    ]


@pytest.mark.parametrize("levels", [1, 2, 15, 16, 200])
def test_grey_levels(levels: int) -> None:
    image = (np.arange(64 * 100).reshape(64, 100) % levels).astype(np.uint8)
    assert look_at(image).levels == levels
    assert describe_look(look_at(image)) in {1: [FLAT], 2: [FEW], 15: [FEW]}.get(
        levels, [describe_look(look_at(image))]
    )


def test_a_level_of_a_marker_alone_does_not_count() -> None:
    image = np.full((400, 400), 90, np.uint8)
    image[0, :9] = np.arange(9) * 20
    assert look_at(image).levels == 1


def test_negatives_and_turned_films_beside_the_others() -> None:
    images = films(ENOUGH_FILMS)
    images[3], images[5], images[8] = 255 - images[3], np.rot90(images[5]), np.rot90(images[8], 2)
    words = describe_looks([look_at(np.ascontiguousarray(image)) for image in images])
    assert {number: word for number, word in enumerate(words) if word} == {3: NEGATIVE, 5: TURNED, 8: TURNED}


def test_a_source_of_negatives_is_not_its_own_measure() -> None:
    words = describe_looks([look_at(255 - image) for image in films(ENOUGH_FILMS)])
    assert set(words) <= {NEGATIVE, TURNED}
    assert "" not in words


def test_real_films(mini_cxr: Path) -> None:
    """All of NIH's: hardly a false alarm, every negative and nearly every film that lies on its side."""
    paths = sorted((mini_cxr / "nih" / "images_001" / "images").iterdir())[:60]
    images = [resize(decode(path), 64) for path in paths]
    assert sum(map(bool, describe_looks([look_at(image) for image in images]))) <= 1
    assert all(describe_look(look_at(255 - image)) for image in images)
    assert sum(bool(describe_look(look_at(np.ascontiguousarray(np.rot90(image))))) for image in images) >= 58
