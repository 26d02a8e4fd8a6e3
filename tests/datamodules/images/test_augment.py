import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.images.augment import MIN_VISIBILITY, seeded, training_transform
from experiments.errors import UserError
from experiments.schema import Augment

NONE = Augment(translate=0, rotate=0, zoom=0, intensity=0, hflip=0)
SIZE = 200


def painted(box, size=SIZE):
    image = np.zeros((size, size), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image


def around(mask):
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(20, 50), st.integers(20, 50)),
)
def test_the_box_follows_what_is_painted_in_it(seed, place):
    x, y, width, height = place
    box = (x, y, x + width, y + height)
    image = painted(box)
    moved = seeded(training_transform(Augment(intensity=0)), seed)(
        image=image, mask=image, bboxes=np.array([box], np.float32)
    )
    assert moved["image"].shape == image.shape
    assert np.abs((moved["image"] > 127).astype(int) - (moved["mask"] > 127)).sum() <= 0.02 * image.size
    if len(moved["bboxes"]):
        found, seen = moved["bboxes"][0], around(moved["image"] > 0)
        assert (found[:2] <= seen[:2] + 2.5).all()
        assert (found[2:] >= seen[2:] - 2.5).all()
        if found.min() > 0 and found.max() < SIZE:  # a clipped box can hold more than is seen of the turned one
            np.testing.assert_allclose(found, seen, atol=2.5)
    else:
        assert (moved["mask"] > 0).sum() <= 1.1 * MIN_VISIBILITY * 1.15**2 * width * height


def test_a_flip_is_exact():
    box = (10, 20, 60, 90)
    moved = seeded(training_transform(Augment(0, 0, 0, 0, hflip=1)), 0)(
        image=painted(box), mask=painted(box), bboxes=np.array([box], np.float32)
    )
    np.testing.assert_allclose(moved["bboxes"], [[140, 20, 190, 90]], atol=1e-4)
    assert (moved["image"] == painted((140, 20, 190, 90))).all()
    assert (moved["mask"] == moved["image"]).all()


def test_boxes_that_leave_are_clipped_or_dropped():
    transform = training_transform(Augment(translate=0.5, rotate=0, zoom=0, intensity=0, hflip=0))
    boxes = np.array([[0, 0, 40, 40], [160, 160, 200, 200], [80, 80, 120, 120]], np.float32)
    left = [seeded(transform, seed)(image=painted((0, 0, 40, 40)), bboxes=boxes)["bboxes"] for seed in range(40)]
    assert {len(some) for some in left} >= {1, 2}
    for some in left:
        assert (some >= 0).all()
        assert (some <= SIZE).all()
        assert ((some[:, 2] - some[:, 0]) * (some[:, 3] - some[:, 1]) >= MIN_VISIBILITY * 40 * 40 - 1).all()


def test_the_seed_alone_decides():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    one, other = training_transform(Augment(jpeg=0.5)), training_transform(Augment(jpeg=0.5))
    seeded(other, 5)(image=image)  # a transform that has worked before gives the same
    for seed in range(5):
        assert (seeded(one, seed)(image=image)["image"] == seeded(other, seed)(image=image)["image"]).all()
    assert len({seeded(one, seed)(image=image)["image"].tobytes() for seed in range(20)}) == 20


def test_steps_are_independent_of_each_other():
    """A flip must not go with one direction of the shift: the steps draw from one stream, not from equal ones."""
    both = training_transform(Augment(translate=0.2, rotate=0, zoom=0, intensity=0, hflip=0.5))
    image = np.zeros((64, 64), np.uint8)
    image[30:34, 30:36] = [50, 50, 50, 250, 250, 250]
    directions = []
    for seed in range(200):
        moved = seeded(both, seed)(image=image)["image"]
        left, right = np.nonzero(moved == 50)[1].mean(), np.nonzero(moved == 250)[1].mean()
        directions.append((left > right, (left + right) / 2 > 32))
    for flipped in (False, True):
        share = np.mean([shift for flip, shift in directions if flip == flipped])
        assert 0.25 < share < 0.75


def test_intensity_shifts_the_grey_value():
    image = np.full((8, 8), 100, np.uint8)
    transform = training_transform(Augment(0, 0, 0, intensity=0.1, hflip=0))
    shifts = [int(seeded(transform, seed)(image=image)["image"][0, 0]) - 100 for seed in range(200)]
    assert min(shifts) in range(-26, -22)
    assert max(shifts) in range(23, 27)


def test_zoom_translation_and_rotation_stay_in_their_ranges():
    box = (90, 90, 110, 110)
    for settings_, low, high in (
        (Augment(0, 0, 0.15, 0, 0), 20 * 0.85, 20 * 1.15),
        (Augment(0, 10, 0, 0, 0), 20, 20 * (np.cos(np.pi / 18) + np.sin(np.pi / 18))),
    ):
        transform = training_transform(settings_)
        sides = []
        for seed in range(100):
            x1, y1, x2, y2 = seeded(transform, seed)(image=painted(box), bboxes=np.array([box]))["bboxes"][0]
            assert x2 - x1 == pytest.approx(y2 - y1, abs=1e-3)
            sides.append(x2 - x1)
        assert min(sides) == pytest.approx(low, abs=0.5)
        assert max(sides) == pytest.approx(high, abs=0.5)


def test_switched_off_it_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    boxes = np.array([[1, 2, 30, 31]], np.float32)
    same = seeded(training_transform(NONE), 3)(image=image, bboxes=boxes)
    assert (same["image"] == image).all()
    np.testing.assert_allclose(same["bboxes"], boxes, atol=1e-5)


def test_jpeg_leaves_its_traces():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    transform = training_transform(Augment(0, 0, 0, 0, 0, jpeg=1, jpeg_quality=[20, 20]))
    out = seeded(transform, 0)(image=image)["image"]
    assert out.shape == image.shape
    assert (out != image).mean() > 0.5


def test_gamma_and_contrast_stay_in_their_ranges():
    grey = 100 / 255
    gamma, contrast = Augment(0, 0, 0, 0, 0, gamma=1.0), Augment(0, 0, 0, 0, 0, contrast=0.5)
    image = np.full((4, 4), 100, np.uint8)
    for setting, low, high in ((gamma, grey**2, grey**0.5), (contrast, grey * 0.5, grey * 1.5)):
        transform = training_transform(setting)
        levels = [seeded(transform, seed)(image=image)["image"][0, 0] / 255 for seed in range(300)]
        assert min(levels) == pytest.approx(low, abs=0.02)
        assert max(levels) == pytest.approx(high, abs=0.02)


def test_noise_and_blur_leave_the_mean():
    edge = np.where(np.arange(64) < 32, 80, 160).astype(np.uint8)[None].repeat(64, 0)
    for setting in (Augment(0, 0, 0, 0, 0, noise=0.1), Augment(0, 0, 0, 0, 0, blur=3.0)):
        transform = training_transform(setting)
        outs = [seeded(transform, seed)(image=edge)["image"].astype(float) for seed in range(20)]
        assert any((out != edge).any() for out in outs)
        assert all(abs(out.mean() - edge.mean()) < 2 for out in outs)


def test_opacities_brighten_the_lungs_and_leave_the_mask():
    image, mask = np.full((64, 64), 60, np.uint8), np.eye(64, dtype=np.uint8)
    transform = training_transform(Augment(0, 0, 0, 0, 0, opacities=1.0))
    for seed in range(20):
        out = seeded(transform, seed)(image=image, mask=mask)
        assert (out["mask"] == mask).all()
        assert (out["image"] >= image).all()
        assert 80 < out["image"].max() <= 225
        assert (out["image"] == 60).any()


@pytest.mark.parametrize(
    "wrong",
    [Augment(hflip=1.5), Augment(zoom=1), Augment(rotate=-1), Augment(jpeg_quality=[90, 40]), Augment(gamma=-1)],
)
def test_settings_out_of_range_name_their_key(wrong):
    with pytest.raises(UserError, match=r"data\.augment\."):
        training_transform(wrong)
