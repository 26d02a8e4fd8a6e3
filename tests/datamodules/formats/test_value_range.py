import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datamodules.formats.value_range import count_words, look_up, robust_range, scale_to_range, to_uint8


def range_of(pixels: np.ndarray) -> tuple[float, float]:
    return robust_range(*np.unique(pixels, return_counts=True))


def test_all_that_is_there_is_the_range() -> None:
    film = np.linspace(600, 3200, 10_000).round()
    assert range_of(film) == (600, 3200)
    assert range_of(np.array([0, 2048, 4095])) == (0, 4095)  # few pixels: none of them is a marker
    assert range_of(np.array([5])) == (5, 5)


def test_single_markers_are_left_out_on_both_sides() -> None:
    film = np.linspace(600, 3200, 10_000).round()
    assert range_of(np.append(film, [16383] * 9)) == (600, 3200)
    assert range_of(np.append(film, [0] * 9)) == (600, 3200)
    assert range_of(np.append(film, [0, 16383])) == (600, 3200)
    assert range_of(np.append(film, [16383] * 200)) == (600, 16383)  # 2 % of the pixels are part of the picture
    assert range_of(np.append(np.zeros(10_000), [4095] * 3)) == (0, 4095)  # all others of one grey


@given(st.integers(0, 60), st.integers(3300, 65_535))
def test_films_of_one_detector_have_much_the_same_scale(markers: int, value: int) -> None:
    """The depth was guessed from the single brightest pixel: four times as bright from one film to the next."""
    film = np.linspace(600, 3200, 100_000).round()
    low, high = range_of(np.append(film, [value] * markers))
    assert low == 600
    assert 3200 <= high <= 3200 + 0.05 * 2600


def test_scale_and_look_up() -> None:
    assert scale_to_range(np.array([1, 2]), 2, 2).tolist() == [0, 0]
    words = np.random.default_rng(0).integers(0, 65536, (3000, 700), np.uint16)  # more than one block
    greys = np.linspace(0, 1, 65536)
    assert np.array_equal(look_up(words, greys), to_uint8(greys)[words])
    assert np.array_equal(count_words(words), np.bincount(words.ravel(), minlength=65536))
    eight = words.astype(np.uint8)
    assert look_up(eight, np.linspace(0, 1, 256)) is eight
