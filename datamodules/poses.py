"""Pictures that are no upright frontal film: turned films, negatives, and what is no film; to learn the difference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from sklearn.datasets import load_sample_image

from experiments.lungs.poses import POSES

_TURNS = {"turned clockwise": -1, "turned anticlockwise": 1, "upside down": 2}
_SHARES = {"upright": 0.0, "negative": 0.15, "no frontal film": 0.4}  # the turns share the rest


def draw_pose(film: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return a picture that is no upright frontal film, and which it is.

    Args:
        film: (S, S) uint8, an upright frontal film.
        rng: Of all that is drawn.

    Returns:
        (S, S) uint8, and its index in :data:`~experiments.lungs.poses.POSES`, never 0.

    Example:
        >>> picture, pose = draw_pose(np.zeros((64, 64), np.uint8), np.random.default_rng(0))
        >>> picture.shape, pose > 0
        ((64, 64), True)
    """
    rest = (1 - sum(_SHARES.values())) / len(_TURNS)
    pose = int(rng.choice(len(POSES), p=[_SHARES.get(name, rest) for name in POSES]))
    return put_in_pose(film, POSES[pose], rng), pose


def put_in_pose(film: np.ndarray, pose: str, rng: np.random.Generator) -> np.ndarray:
    """Return a film turned, its negative, or a picture that is no frontal film.

    Args:
        film: (S, S) uint8, an upright frontal film.
        pose: Of :data:`~experiments.lungs.poses.POSES`.
        rng: Draws what is no frontal film.

    Example:
        >>> put_in_pose(np.array([[0, 1], [2, 3]], np.uint8), "turned clockwise", np.random.default_rng(0)).tolist()
        [[2, 0], [3, 1]]
    """
    if pose in _TURNS:
        return np.rot90(film, _TURNS[pose])
    if pose == "negative":
        return 255 - film
    if pose == "no frontal film":
        return _OTHERS[rng.integers(len(_OTHERS))](film, rng)
    return film


def _photograph(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    photo = _photographs()[rng.integers(2)]
    picture = _random_part(photo, rng, 0.2, 1.0, len(film))
    return picture[:, ::-1] if rng.random() < 0.5 else picture


@cache
def _photographs() -> list[np.ndarray]:
    """The two photographs that come with scikit-learn: a temple and a flower."""
    return [cv2.cvtColor(load_sample_image(name), cv2.COLOR_RGB2GRAY) for name in ("china.jpg", "flower.jpg")]


def _part_of_film(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _random_part(film, rng, 0.12, 0.35, len(film))


def _half_film(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One half of the chest, stretched: a single lung between a spine and a wall, as a lateral film has."""
    side = len(film)
    left = int(rng.choice([0, side // 2]))
    return cv2.resize(film[:, left : left + side // 2], (side, side), interpolation=cv2.INTER_LINEAR)


def _tiles(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The film cut into squares that are laid anew, each in its own turn."""
    side, count = len(film), int(rng.integers(2, 6))
    small = side // count
    corners = [(small * row, small * column) for row in range(count) for column in range(count)]
    tiles = [film[y : y + small, x : x + small] for y, x in corners]
    tiles = [np.rot90(tiles[i], int(rng.integers(4))) for i in rng.permutation(len(tiles))]
    rows = [np.hstack(tiles[i : i + count]) for i in range(0, len(tiles), count)]
    return cv2.resize(np.vstack(rows), (side, side), interpolation=cv2.INTER_LINEAR)


def _several_films(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two or four small films side by side, as on a page."""
    half = cv2.resize(film, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    row = np.hstack([half, half])
    if rng.random() < 0.5:
        return cv2.resize(row, film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.resize(np.vstack([row, row]), film.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _noise(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of any grain: from snow to a slow gradient, and flat grey."""
    grain, contrast = rng.choice([0, 1, 4, 16, 64]), rng.uniform(0, 80)
    noise = rng.normal(0, 1, film.shape)
    if grain:
        smooth = cv2.GaussianBlur(noise, (0, 0), float(grain))
        noise = smooth / (smooth.std() + 1e-6)
    return np.clip(rng.uniform(0, 255) + contrast * noise, 0, 255).astype(np.uint8)


def _drawing(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A page with ellipses, boxes and words."""
    side = len(film)
    page = np.full(film.shape, rng.integers(256), np.uint8)
    for _ in range(rng.integers(1, 12)):
        grey, (x, y, a, b) = int(rng.integers(256)), (int(value) for value in rng.integers(1, side, 4))
        thickness = int(rng.choice([-1, 1, 3]))
        if rng.random() < 0.4:
            cv2.ellipse(page, ((x, y), (a, b), float(rng.uniform(0, 180))), grey, thickness)
        elif rng.random() < 0.5:
            cv2.rectangle(page, (x, y), (a, b), grey, thickness)
        else:
            words = "".join(chr(letter) for letter in rng.integers(65, 123, 20))
            cv2.putText(page, words, (x // 2, y), cv2.FONT_HERSHEY_SIMPLEX, side / 256 * rng.uniform(0.3, 1.2), grey, 1)
    return page


def _random_part(
    picture: np.ndarray, rng: np.random.Generator, smallest: float, largest: float, side: int
) -> np.ndarray:
    """Return a rectangle of this share of the picture's sides, resized to a square."""
    share = rng.uniform(smallest, largest)
    height, width = (max(2, round(share * length)) for length in picture.shape)
    top, left = rng.integers(picture.shape[0] - height + 1), rng.integers(picture.shape[1] - width + 1)
    part = picture[top : top + height, left : left + width]
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA if height > side else cv2.INTER_LINEAR)


_OTHERS: list[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = [
    _photograph,
    _part_of_film,
    _half_film,
    _tiles,
    _several_films,
    _noise,
    _drawing,
]
