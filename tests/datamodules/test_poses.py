import numpy as np
import pytest

from datamodules.poses import _OTHERS, draw_pose, put_in_pose
from experiments.lungs.poses import POSES

FILM = np.arange(96 * 96, dtype=np.uint32).reshape(96, 96).astype(np.uint8)


def test_turns_go_the_way_they_are_called():
    """A corner that is top left goes to the top right when a film is turned clockwise."""
    film, rng = np.zeros((8, 8), np.uint8), np.random.default_rng(0)
    film[0, 0] = 255
    places = {pose: np.argwhere(put_in_pose(film, pose, rng) == 255).tolist() for pose in POSES[:4]}
    assert places == {
        "upright": [[0, 0]], "turned clockwise": [[0, 7]], "turned anticlockwise": [[7, 0]], "upside down": [[7, 7]],
    }  # fmt: skip
    assert (put_in_pose(film, "negative", rng) == 255 - film).all()


@pytest.mark.parametrize("draw", _OTHERS, ids=lambda draw: draw.__name__.strip("_"))
def test_what_is_no_frontal_film_has_its_size_and_is_another_picture(draw):
    for seed in range(5):
        picture = draw(FILM, np.random.default_rng(seed))
        assert picture.shape == FILM.shape
        assert picture.dtype == np.uint8
        assert not np.array_equal(picture, FILM)


def test_every_pose_but_upright_is_drawn():
    poses = [draw_pose(FILM, np.random.default_rng(seed))[1] for seed in range(200)]
    assert set(poses) == set(range(1, len(POSES)))
