"""The five representations of ROI Hide-and-Seek, drawn by hand, and the way they go through data and pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from datamodules.dataset import input_boxes
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.decode import crop_top, decode, resize
from datamodules.images.mask_files import write_mask
from datamodules.images.views import hide
from datamodules.multitask import MultiTaskDataModule
from datamodules.sampler import Item
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.schema import View

LUNGS = np.array(
    [
        [int(letter) for letter in row]
        for row in ("00000000", "01100110", "01000110", "01100100", "00000000", "00000001")
    ],
    bool,
)
HIDDEN = [view for view in View if view is not View.original]


@pytest.mark.parametrize(
    ("view", "seen"),
    [
        (View.original, ["11111111"] * 6),
        (View.lungs_isolated, ["00000000", "01100110", "01000110", "01100100", "00000000", "00000000"]),
        (View.lungs_removed, ["11111111", "10011001", "10111001", "10011011", "11111111", "11111111"]),
        (View.lungs_framed, ["00000000", "01100110", "01100110", "01100110", "00000000", "00000000"]),
        (View.lungs_boxed_out, ["11111111", "10011001", "10011001", "10011001", "11111111", "11111111"]),
    ],
)
def test_representations_drawn_by_hand(view: View, seen: list[str]):
    """Two lungs with a box each; the speck, the third largest area, is no lung."""
    image = np.arange(48, dtype=np.uint8).reshape(6, 8) + 100
    expected = np.array([[int(letter) for letter in row] for row in seen]) * image
    assert (hide(image, LUNGS, view) == expected).all()


@settings(max_examples=25, deadline=None)
@given(arrays(bool, (9, 7)).filter(lambda mask: mask.any()))
def test_what_is_hidden_and_what_is_shown_make_the_image(lung: np.ndarray):
    image = np.full((9, 7), 200, np.uint8)
    views = {view: hide(image, lung, view) for view in HIDDEN}
    assert (views[View.lungs_isolated] + views[View.lungs_removed] == image).all()
    assert (views[View.lungs_framed] + views[View.lungs_boxed_out] == image).all()
    assert (views[View.lungs_isolated] <= views[View.lungs_framed]).all()


def test_an_image_without_lungs_has_no_representation():
    with pytest.raises(UserError, match="film: no lung was found"):
        hide(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), View.lungs_removed, "film")


def test_boxes_follow_the_crop():
    """Of 100 rows 8 go: a box is moved up, one mostly above the cut is gone, all are scaled to 46 px."""
    boxes = np.array([[0, 20, 50, 54], [0, 0, 10, 9], [10, 4, 20, 16]], np.float32)
    cut = input_boxes(boxes, (100, 92), 46, 0.08)
    np.testing.assert_allclose(cut, [[0, 6, 25, 23], [5, 0, 10, 4]])
    np.testing.assert_allclose(input_boxes(boxes, (100, 92), 46)[1], [0, 0, 5, 9 * 0.46])


@pytest.fixture
def datamodule(demo_data: Path, tmp_path: Path):
    """Demo data with a lung mask of every image of COVIDx: empty for one training image."""

    def make(view: View, kind: type[MultiTaskDataModule] = MultiTaskDataModule, *arguments: object):
        overrides = [f"data.root={demo_data}", f"data.view={view.value}", "data.image_size=64", "data.num_workers=0"]
        overrides += [f"data.masks={{folders: [{tmp_path}], segmenter: null}}"]
        module = kind(load_experiment(SHIPPED / "hide_and_seek.yaml", overrides), *arguments)
        module.setup()
        rows = module.tables["covidx"]
        for path in rows["image"]:
            mask = np.zeros((100, 100), np.uint8)
            mask[30:70, 20:45] = mask[30:70, 55:80] = 1
            scaled = Image.fromarray(mask).resize(decode(path).shape[::-1], Image.Resampling.NEAREST)
            write_mask(tmp_path / f"{Path(path).stem}.png", np.asarray(scaled, bool))
        first = rows.loc[rows["split"] == "train", "image"].iloc[0]
        write_mask(tmp_path / f"{Path(first).stem}.png", np.zeros(decode(first).shape, bool))
        module._masks = None  # the folder was listed before there were masks
        if view is not View.original:
            module.leave_out(module.masks.empty(module.images(["train", "val", "test"]), 64))
        return module, first

    return make


def test_training_validation_test_and_pairs_all_see_the_representation(datamodule):
    module, first = datamodule(View.lungs_boxed_out)
    assert module.without_lungs == {"train": 1}
    assert first not in module.tables["covidx"]["image"].tolist()
    group = module.groups[0]
    lung = np.zeros((92, 100), bool)  # of 100 rows 8 are cut
    lung[22:62, 20:45] = lung[22:62, 55:80] = True
    boxes = (resize(lung.astype(np.uint8) * 255, 64) >= 128).astype(np.uint8)
    around = np.ones((3, 3))  # masks are resized by nearest pixel
    inside, outside = cv2.erode(boxes, around) > 0, cv2.dilate(boxes, around) == 0
    for split in ("train", "val", "test"):
        row = int(group.rows(split)[0])
        path = group.images[row].decode()
        image = module.dataset[Item(0, row)].image
        whole = resize(crop_top(decode(path), 0.08), 64)
        assert (image[inside] == 0).all()
        assert (image[outside] == whole[outside]).all()
    for split in ("val", "test"):
        pair = module.pair_dataset(split)[0]
        for side in (pair.original, pair.received):
            assert (side[0].numpy()[pair.lung.numpy()] == 0).all()
            assert (side > 0).any()


def test_the_original_needs_no_masks_but_is_cut_at_the_top(datamodule):
    module, first = datamodule(View.original)
    assert first in module.tables["covidx"]["image"].tolist()
    row = int(module.groups[0].rows("val")[0])
    whole = decode(module.groups[0].images[row].decode())
    assert (module.dataset[Item(0, row)].image == resize(whole[int(0.08 * len(whole)) :], 64)).all()


def test_evaluation_leaves_out_and_says_so(datamodule):
    module, _ = datamodule(View.lungs_isolated, EvaluationDataModule, "val")
    assert "0 images in which no lung was found are left out (data.view=lungs_isolated)" in module.notes
    assert (module.dataset[Item(0, int(module.groups[0].rows("val")[0]))].image == 0).mean() > 0.5
