import numpy as np

from datamodules.demo.anatomy import Anatomy


def test_a_spot_lies_in_the_lung_of_its_side() -> None:
    anatomy = Anatomy.draw(128, np.random.default_rng(0))
    side = len(anatomy.lungs)
    for sign in (-1, 1):
        for seed in range(20):
            x, y = anatomy.spot(np.random.default_rng(seed), (0.3, 0.7), (0.3, 0.6), sign)
            assert x * sign > 0
            assert anatomy.lungs[int(y * side), int((x + 0.5) * side)] > 0.5


def test_a_patient_is_drawn_by_its_generator_alone() -> None:
    first, again, other = (Anatomy.draw(64, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.bone, again.bone)
    assert not np.array_equal(first.bone, other.bone)
