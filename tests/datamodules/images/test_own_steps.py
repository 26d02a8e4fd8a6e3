import numpy as np
import pytest

from datamodules.images.augment import seeded, training_transform
from datamodules.images.own_steps import OwnStep
from experiments.errors import UserError
from experiments.schema import Augment

NOTHING = {"translate": 0, "zoom": 0, "rotate": 0, "hflip": 0, "intensity": 0}
IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)


def shift(image, mask=None, boxes=None, rng=None):
    """Move all one pixel to the right, and add a grey level that is drawn."""
    level = int(rng.integers(1, 100))
    mask = None if mask is None else np.roll(mask, 1, axis=1)
    return {"image": np.roll(image, 1, axis=1) + level, "mask": mask, "boxes": np.add(boxes, [1, 0, 1, 0])}


def test_image_mask_and_boxes_move_together_and_by_the_seed():
    transform = training_transform(Augment(**NOTHING, extra=[f"{__name__}.shift", "InvertImg(p=1.0)"]))
    mask, boxes = IMAGE % 2, np.array([[1, 2, 4, 5]], np.float32)
    moved = [seeded(transform, seed)(image=IMAGE, mask=mask, bboxes=boxes) for seed in (3, 3, 4)]
    assert moved[0]["bboxes"].tolist() == [[2, 2, 5, 5]]
    assert (moved[0]["mask"] == np.roll(mask, 1, axis=1)).all()
    assert (moved[0]["image"] == moved[1]["image"]).all()
    assert (moved[0]["image"] != moved[2]["image"]).any()


@pytest.mark.parametrize(
    ("step", "words"), [(lambda image: image.astype(float), "stays uint8"), (lambda image: image[0, 0, 0], "fails")]
)
def test_a_wrong_step_is_one_message(step, words):
    with pytest.raises(UserError, match=rf"extra\[0\]: mine.*{words}"):
        OwnStep(step, "mine", "data.augment.extra[0]")(image=IMAGE)
