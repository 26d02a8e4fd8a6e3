import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.demo.anatomy import Anatomy
from datamodules.demo.findings import FINDINGS
from datamodules.demo.phantom import draw_chest


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(sorted(FINDINGS))), st.integers(0, 2**32 - 1), st.booleans())
def test_a_chest_has_two_dark_lungs(findings, seed, portable):
    def draw():
        anatomy = Anatomy.draw(64, np.random.default_rng(seed))
        film = np.random.default_rng((seed, 1))
        return draw_chest(anatomy, sorted(findings), film, size=64, portable=portable)

    chest = draw()
    assert chest.image.shape == chest.lungs.shape == (64, 64)
    assert chest.image.dtype == np.uint8
    assert chest.lungs.dtype == bool
    assert 0.12 < chest.lungs.mean() < 0.45
    assert cv2.connectedComponents(chest.lungs.astype(np.uint8))[0] == 3  # the background and two lungs
    middle = chest.image[16:48, 30:34]  # spine and mediastinum
    assert np.median(chest.image[chest.lungs]) < np.median(middle)
    for boxes in chest.boxes.values():
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= 64).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.array_equal(chest.image, draw().image)
